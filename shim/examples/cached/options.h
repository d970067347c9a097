/* SPDX-License-Identifier: MIT */
#pragma once

struct options;

/** options_parse() - The command line, memcached's letters. Return: 0, or 1 after the usage or a word to stderr. */
int options_parse(int argc, char **argv, struct options *ret);
