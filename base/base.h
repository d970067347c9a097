/* SPDX-License-Identifier: MIT */
/* The room's public header: what every other room may use. */
#pragma once

#include "base/child.h"
#include "base/clock.h"
#include "base/closer.h"
#include "base/door.h"
#include "base/fd.h"
#include "base/fd_ref.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/text.h"
#include "base/trust.h"
#include "base/why.h"
#include "base/work.h"
