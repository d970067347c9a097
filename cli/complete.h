/* SPDX-License-Identifier: MIT */
/* `completion`: what shells need to complete the command line of this tool. */
#pragma once

/**
 * complete_main() - Carry out `upgradectl completion`.
 * @argv: what stands behind that: `bash`, `zsh` or `fish`, for which the script is printed; or `words WORD...`, with which those
 *        scripts ask what the last word could become. It may be empty; the others are complete.
 *
 * The answer to `words` is a line for each, with a tab and a description behind it where there is one; ":files" stands for names of
 * files. What the supervisor does not say in time is left out without a word.
 *
 * Return: the exit status.
 */
int complete_main(int argc, char **argv);
