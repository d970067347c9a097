/* SPDX-License-Identifier: MIT */
#include "supervisor/roll/word.h"

#include "base/fd.h"
#include "base/why.h"

#include <errno.h>
#include <stdlib.h>

int roll_word_new(uint64_t generation, struct roll_word **ret_word, struct why *why)
{
	struct roll_word *word = calloc(1, sizeof(*word));
	int r;

	if (!word)
		return why_errno(why, -ENOMEM, "commit word");
	r = commit_create(&word->word, generation, &word->fd, why);
	if (r < 0) {
		free(word);
		return r;
	}
	word->users = 1;
	*ret_word = word;
	return 0;
}

struct roll_word *roll_word_use(struct roll_word *word)
{
	word->users++;
	return word;
}

struct roll_word *roll_word_drop(struct roll_word *word)
{
	if (!word || --word->users)
		return NULL;
	commit_unmap(&word->word);
	fd_close(word->fd);
	free(word);
	return NULL;
}
