/* SPDX-License-Identifier: MIT */
/* One roll as a page of HTML that needs nothing else: no script, no file beside it, no network. */
#pragma once

#include "wire/control.pb-c.h"

#include <stdio.h>

/** page_write() - Every text is escaped: what a service printed is text, whatever it looks like. */
void page_write(FILE *out, const char *service, const Upgraded__Wire__RollReport *roll);

/** page_text() - A text as HTML shows it and as nothing else: markup, broken UTF-8, and what would reorder the line, are
 * escaped. */
void page_text(FILE *out, const char *text);
