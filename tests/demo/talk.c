/* SPDX-License-Identifier: MIT */
/* Two people who talk in `chatd` while it is rolled: one is cut off in the middle of a sentence, and finishes it in the next
 * version; the other must hear all of it, and the room must remember every word in its order. */
#include "tests/demo/demo.h"

#include "base/base.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_SECONDS 10

static int person_open(struct person *person, uint16_t port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval patience = { .tv_sec = PATIENCE_SECONDS };

	person->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (person->fd < 0 || setsockopt(person->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
	    connect(person->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	person->lines = fdopen(person->fd, "r");
	return person->lines ? 0 : -errno;
}

static void person_say(const struct person *person, const char *text)
{
	(void)!send(person->fd, text, strlen(text), MSG_NOSIGNAL);
}

/* The next line without its end; "" when none comes. */
static const char *person_hear(struct person *person)
{
	if (!fgets(person->line, sizeof(person->line), person->lines))
		person->line[0] = 0;
	person->line[strcspn(person->line, "\r\n")] = 0;
	return person->line;
}

static void expect(struct demo *demo, struct person *person, const char *who, const char *line)
{
	const char *heard = person_hear(person);

	if (strcmp(heard, line) != 0)
		demo_broken(demo, "%s heard \"%s\" and had to hear \"%s\"", who, heard, line);
}

int talk_start(struct demo *demo)
{
	struct talk *talk = &demo->talk;
	int rc = person_open(&talk->ann, talk->port);

	if (rc == 0)
		rc = person_open(&talk->bob, talk->port);
	if (rc < 0)
		return rig_fail(demo->rig, rc, "chatd does not answer: %s", strerror(-rc));
	person_say(&talk->ann, "NICK ann\nJOIN hall\n");
	expect(demo, &talk->ann, "ann", "OK");
	expect(demo, &talk->ann, "ann", "OK");
	person_say(&talk->bob, "NICK bob\nJOIN hall\n");
	expect(demo, &talk->bob, "bob", "OK");
	expect(demo, &talk->bob, "bob", "OK");
	show(STYLE_GOOD, "     clients  ");
	printf("ann and bob, who talk in a room of chatd, each on a connection of their own\n");
	return 0;
}

void talk_before(struct demo *demo)
{
	struct talk *talk = &demo->talk;
	char text[64];

	snprintf(text, sizeof(text), "SAY hall this is %u and", ++talk->said);
	person_say(&talk->ann, text);
}

/* Every sentence so far, in its order, as the room remembers it. */
static void expect_history(struct demo *demo)
{
	struct talk *talk = &demo->talk;
	char sentence[64];
	const char *line;
	unsigned n = 0;

	person_say(&talk->bob, "HISTORY hall 100\n");
	while (*(line = person_hear(&talk->bob)) && strcmp(line, "END") != 0) {
		snprintf(sentence, sizeof(sentence), " ann this is %u and so it goes on", ++n);
		if (!strstr(line, sentence))
			demo_broken(demo, "the room remembers \"%s\" as its sentence %u", line, n);
	}
	if (n != talk->said)
		demo_broken(demo, "the room remembers %u sentences, and %u were said", n, talk->said);
}

void talk_after(struct demo *demo)
{
	struct talk *talk = &demo->talk;
	unsigned broken = demo->broken;
	char heard[96];

	person_say(&talk->ann, " so it goes on\n");
	expect(demo, &talk->ann, "ann", "OK");
	snprintf(heard, sizeof(heard), "SAID hall ann this is %u and so it goes on", talk->said);
	expect(demo, &talk->bob, "bob", heard);
	expect_history(demo);
	show(demo->broken == broken ? STYLE_GOOD : STYLE_BAD, "     clients  ");
	printf("ann finished her sentence in the other version, bob heard it whole, and the room remembers all %u\n", talk->said);
}

void talk_stop(struct demo *demo)
{
	if (demo->talk.ann.lines)
		fclose(demo->talk.ann.lines);
	if (demo->talk.bob.lines)
		fclose(demo->talk.bob.lines);
}
