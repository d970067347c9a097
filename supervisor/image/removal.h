/* SPDX-License-Identifier: MIT */
/* Images are large, and to remove one takes the disk seconds. So their folders only get another name in the loop,
 * .GENERATION.gone, and a child process of the lowest priority removes what has such a name. What is left of it when the
 * supervisor ends is removed after its next start. */
#pragma once

#include <stdbool.h>

struct loop;
struct why;

#define REMOVAL_SUFFIX ".gone"

/** removal_begin() - From now on folders are removed beside the loop. Before it, and after removal_end(), removal_of() waits.
 * @images_root: copied; all of it is searched for what is left of an earlier run. */
void removal_begin(struct loop *loop, const char *images_root);

/** removal_end() - Ends the child if one is at work. */
void removal_end(void);

/** removal_of() - Take the folder @path away: nothing is at this path when this returns. A missing one is fine. Return: 0 or
 * -errno. */
int removal_of(const char *path, struct why *why);

/** removal_is_over() - Is there nothing left that a child has still to remove? */
bool removal_is_over(void);
