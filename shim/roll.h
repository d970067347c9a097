/* SPDX-License-Identifier: MIT */
/* The old version's side of a roll. */
#pragma once

#include "shim/core/upg.h"

#include "wire/wire.h"

/** roll_leave() - Go from Prepare to the outcome. Its descriptors are those of the message in hand. Return: as upg_dispatch(). */
int roll_leave(struct upg *upg, const Upgraded__Wire__Prepare *prepare);
