/* SPDX-License-Identifier: MIT */
/* All of it is made of the annotations of chatd_v2.proto, at build time, by protoc-gen-upgrade(1). */
#include "shim/examples/chatd/migrations.h"

#if CHATD_VERSION >= 2

#include "shim/examples/chatd/chatd_v2.upgrade.h"

const struct upg_migration migrations[] = { CHATD_V2_MIGRATIONS };
const size_t n_migrations = sizeof migrations / sizeof *migrations;

#else

const struct upg_migration migrations[] = { { 0 } }; /* the first version knows no other; C has no empty arrays */
const size_t n_migrations = 0;

#endif
