/* SPDX-License-Identifier: MIT */
/* A roll as it happens, for whoever asked with `phases`. */
#pragma once

struct asker;
struct roll;
struct service;

/** service_on_phase() - Another phase has begun. */
void service_on_phase(struct roll *roll);

/** service_tell_phase() - @asker (NULL: nobody) begins to wait for a roll that is under way, if there is one. */
void service_tell_phase(struct service *service, struct asker *asker);
