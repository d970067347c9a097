/* SPDX-License-Identifier: MIT */
/* protoc and the generator, run on a schema. */
#pragma once

struct protoc {
	char folder[64]; /* t.proto and what was made of it */
	int status;      /* exit status */
	char said[4096]; /* on its standard error */
};

/** protoc_generate() - @options: for the generator, as after --upgrade_opt=; "": none. */
struct protoc protoc_generate(const char *schema, const char *options);
void protoc_done(struct protoc *protoc);
