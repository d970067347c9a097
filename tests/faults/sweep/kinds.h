/* SPDX-License-Identifier: MIT */
/* What there is to fail. */
#pragma once

#include "tests/faults/faults.h"

struct fault_kind {
	const char *name;
	uint32_t classes;
	enum fault_where where;
	enum fault_action action;
	int error;
};

extern const struct fault_kind fault_kinds[];
extern const unsigned fault_kinds_n;

const char *fault_role_name(enum fault_role role);
