/* SPDX-License-Identifier: MIT */
#include "cli/term.h"

#include <langinfo.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define FALLBACK_WIDTH 80u

/* A printable piece of a text: a character, or the escape for one. */
struct piece {
	char bytes[16];
	size_t columns;
	size_t consumed;
};

static bool is_set(const char *name)
{
	const char *value = getenv(name);

	return value && *value;
}

void term_init(struct term *term, FILE *out, enum color_choice color)
{
	const char *kind = getenv("TERM");
	bool tty = isatty(fileno(out));
	bool able = tty && kind && *kind && strcmp(kind, "dumb") != 0;

	*term = (struct term){
		.out = out,
		.live = able,
		.color = color == COLOR_ALWAYS || (color == COLOR_AUTO && able && !is_set("NO_COLOR")),
		.utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8"),
	};
}

size_t term_width(const struct term *term)
{
	struct winsize size;

	if (term->width)
		return term->width;
	if (ioctl(fileno(term->out), TIOCGWINSZ, &size) < 0 || !size.ws_col)
		return FALLBACK_WIDTH;
	return size.ws_col;
}

/* Decode the code point at @s. Return: its length; 0: not UTF-8 (overlong, a surrogate, beyond Unicode, or cut short). */
static size_t decode(const unsigned char *s, uint32_t *ret_point)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t length = s[0] < 0x80 ? 1 : s[0] < 0xc0 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf8 ? 4 : 0;
	uint32_t point = length == 1 ? s[0] : s[0] & (0x7fu >> length);

	for (size_t i = 1; i < length; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (s[i] & 0x3fu);
	}
	if (!length || point < least[length] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
		return 0;
	*ret_point = point;
	return length;
}

/* Besides control characters: does it reorder or break a line, or can it not be seen? */
static bool is_treacherous(uint32_t point)
{
	static const struct { uint32_t first, last; } ranges[] = {
		{ 0x80, 0x9f }, { 0xad, 0xad }, { 0x61c, 0x61c }, { 0x115f, 0x1160 }, { 0x180e, 0x180e },
		{ 0x200b, 0x200f }, { 0x2028, 0x202e }, { 0x2060, 0x206f }, { 0x3164, 0x3164 }, { 0xd800, 0xf8ff },
		{ 0xfe00, 0xfe0f }, { 0xfeff, 0xfeff }, { 0xfff0, 0xfffb }, { 0xe0000, 0x10ffff },
	};

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		if (point >= ranges[i].first && point <= ranges[i].last)
			return true;
	return false;
}

/* Two columns for every character from East Asia's on: at worst a line is cut a little early, but it never wraps. */
static size_t point_columns(uint32_t point)
{
	return (point >= 0x1100 && point < 0x1200) || point >= 0x2e80 ? 2 : 1;
}

static struct piece piece_at(const char *text, bool utf8)
{
	const unsigned char *s = (const unsigned char *)text;
	struct piece piece = { .consumed = 1 };
	uint32_t point = 0;
	size_t length = decode(s, &point);

	if (length == 0)
		snprintf(piece.bytes, sizeof(piece.bytes), "\\x%02x", s[0]);
	else if (point == '\n' || point == '\r' || point == '\t')
		snprintf(piece.bytes, sizeof(piece.bytes), "\\%c", point == '\n' ? 'n' : point == '\r' ? 'r' : 't');
	else if (point < 0x20 || point == 0x7f)
		snprintf(piece.bytes, sizeof(piece.bytes), "\\x%02x", point);
	else if (point >= 0x80 && (!utf8 || is_treacherous(point)))
		snprintf(piece.bytes, sizeof(piece.bytes), "\\u{%x}", point);
	else
		memcpy(piece.bytes, s, length);
	piece.consumed = length ? length : 1;
	piece.columns = length > 1 && piece.bytes[0] != '\\' ? point_columns(point) : strlen(piece.bytes);
	return piece;
}

size_t term_columns(const struct term *term, const char *text)
{
	size_t columns = 0;

	while (*text) {
		struct piece piece = piece_at(text, term->utf8);

		columns += piece.columns;
		text += piece.consumed;
	}
	return columns;
}

size_t term_text(const struct term *term, const char *text, size_t columns)
{
	const char *ellipsis = term->utf8 ? "…" : "~";
	bool cut = term_columns(term, text) > columns;
	size_t room = cut && columns ? columns - 1 : columns;
	size_t used = 0;

	while (*text) {
		struct piece piece = piece_at(text, term->utf8);

		if (piece.columns > room - used)
			break;
		fputs(piece.bytes, term->out);
		used += piece.columns;
		text += piece.consumed;
	}
	if (cut && columns) {
		fputs(ellipsis, term->out);
		used++;
	}
	return used;
}

size_t term_words(const struct term *term, const char *text, size_t columns)
{
	size_t used = 0, fits = 0; /* columns up to here, and up to the last blank that has room for the mark behind it */
	const char *at = text, *end = NULL;

	while (*at) {
		struct piece piece = piece_at(at, term->utf8);

		if (*at == ' ' && used + 1 <= columns) {
			end = at;
			fits = used;
		}
		used += piece.columns;
		at += piece.consumed;
	}
	if (used <= columns)
		return term_text(term, text, columns);
	if (!end)
		return term_text(term, text, columns);
	for (at = text; at < end;) {
		struct piece piece = piece_at(at, term->utf8);

		fputs(piece.bytes, term->out);
		at += piece.consumed;
	}
	fputs(term->utf8 ? "…" : "~", term->out);
	return fits + 1;
}

/* The columns up to the next blank. */
static size_t word_columns(const struct term *term, const char *text)
{
	size_t columns = 0;

	while (*text && *text != ' ') {
		struct piece piece = piece_at(text, term->utf8);

		columns += piece.columns;
		text += piece.consumed;
	}
	return columns;
}

void term_wrapped(const struct term *term, const char *text, size_t at, size_t indent)
{
	size_t width = term->live ? term_width(term) : 0;

	if (width < indent + 20) { /* as it comes, where there is no room for columns */
		term_text(term, text, TERM_WHOLE);
		return;
	}
	while (*text) {
		struct piece piece = piece_at(text, term->utf8);

		if (*text == ' ' && text[1] && at > indent && at + 1 + word_columns(term, text + 1) >= width) {
			fprintf(term->out, "\n%*s", (int)indent, "");
			at = indent;
		} else {
			fputs(piece.bytes, term->out);
			at += piece.columns;
		}
		text += piece.consumed;
	}
}

size_t term_point(const uint8_t *data, size_t size_bytes, uint32_t *ret_point)
{
	unsigned char window[5] = { 0 }; /* the zero ends a sequence that is cut short */

	memcpy(window, data, size_bytes < 4 ? size_bytes : 4);
	return size_bytes ? decode(window, ret_point) : 0;
}

/* Return: how many of the bytes at @data print as they are, so that they can be written at once. */
static size_t plain_run(const uint8_t *data, size_t size_bytes)
{
	size_t n = 0;

	while (n < size_bytes && data[n] >= 0x20 && data[n] < 0x7f && data[n] != '"' && data[n] != '\\')
		n++;
	return n;
}

/* Escapes, collected to be written at once: binary values are mostly escapes. */
struct escapes {
	char text[512];
	size_t n;
};

static void escapes_flush(struct escapes *escapes, FILE *out)
{
	fwrite(escapes->text, 1, escapes->n, out);
	escapes->n = 0;
}

static void escapes_add(struct escapes *escapes, FILE *out, const uint8_t *data, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t c = data[i];
		char named = c == '\n' ? 'n' : c == '\r' ? 'r' : c == '\t' ? 't' : c == '"' || c == '\\' ? (char)c : '\0';
		char *at;

		if (escapes->n + 4 > sizeof(escapes->text))
			escapes_flush(escapes, out);
		at = escapes->text + escapes->n;
		at[0] = '\\';
		at[1] = named ? named : (char)('0' + (c >> 6));
		at[2] = (char)('0' + (c >> 3 & 7));
		at[3] = (char)('0' + (c & 7));
		escapes->n += named ? 2 : 4;
	}
}

void term_quoted(const struct term *term, const uint8_t *data, size_t size_bytes, bool is_text)
{
	struct escapes escapes = { .n = 0 };
	size_t at = 0;

	fputc('"', term->out);
	while (at < size_bytes) {
		size_t n = plain_run(data + at, size_bytes - at);
		uint32_t point = 0;

		if (n) {
			escapes_flush(&escapes, term->out);
			fwrite(data + at, 1, n, term->out);
			at += n;
			continue;
		}
		n = is_text ? term_point(data + at, size_bytes - at, &point) : 1;
		if (is_text && term->utf8 && n > 1 && !is_treacherous(point)) {
			escapes_flush(&escapes, term->out);
			fwrite(data + at, 1, n, term->out);
		} else {
			escapes_add(&escapes, term->out, data + at, n ? n : 1);
		}
		at += n ? n : 1;
	}
	escapes_flush(&escapes, term->out);
	fputc('"', term->out);
}

void term_padded(const struct term *term, const char *text, size_t columns)
{
	size_t used = term_text(term, text, TERM_WHOLE);

	for (; used < columns; used++)
		fputc(' ', term->out);
}

void term_style(const struct term *term, enum term_style style)
{
	static const char *const codes[] = {
		[STYLE_BOLD] = "1", [STYLE_DIM] = "2", [STYLE_RED] = "31", [STYLE_GREEN] = "32", [STYLE_YELLOW] = "33",
	};

	if (term->color)
		fprintf(term->out, "\033[%sm", codes[style]);
}

void term_plain(const struct term *term)
{
	if (term->color)
		fputs("\033[0m", term->out);
}

void term_mark(const struct term *term, enum term_mark mark)
{
	static const struct { const char *utf8, *ascii; } marks[] = {
		[MARK_OPEN] = { "·", "." }, [MARK_OK] = { "✓", "+" }, [MARK_FAIL] = { "✗", "x" },
		[MARK_BACK] = { "↩", "<" }, [MARK_BULLET] = { "●", "*" }, [MARK_NOW] = { "▸", ">" },
	};

	fputs(term->utf8 ? marks[mark].utf8 : marks[mark].ascii, term->out);
}
