/* SPDX-License-Identifier: MIT */
#include "supervisor/roll/word.h"

#include "base/why.h"

#include <errno.h>
#include <stdlib.h>

int roll_word_new(uint64_t generation, struct roll_word **ret_word, struct why *why)
{
	struct roll_word *word = calloc(1, sizeof(*word));
	int fd, r;

	if (!word)
		return why_errno(why, -ENOMEM, "commit word");
	r = commit_create(&word->word, generation, &fd, why);
	if (r == 0) {
		word->fd = fd_ref_new(fd);
		if (!word->fd) {
			commit_unmap(&word->word);
			r = why_errno(why, -ENOMEM, "commit word");
		}
	}
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
	fd_ref_drop(word->fd);
	free(word);
	return NULL;
}
