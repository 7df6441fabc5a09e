/* nemesis_private.h - private to the nemesis: nemesis.c (the schedule, the operator) and nemesis_acts.c (what events do). */
#ifndef TRILITH_TESTS_SIM_NEMESIS_PRIVATE_H
#define TRILITH_TESTS_SIM_NEMESIS_PRIVATE_H

#include "tests/sim/nemesis.h"

static inline uint64_t world_ns(const struct nemesis *nemesis)
{
    return sim_loop_world_ns(nemesis->cluster->world);
}

static inline struct loop *world_loop(const struct nemesis *nemesis)
{
    return sim_loop_interface(nemesis->cluster->world);
}

/* Carry an event out. False: there was nobody to hit. */
bool nemesis_event_happens(struct nemesis *nemesis, const struct nemesis_event *event);
/* How long it lasts. */
uint64_t nemesis_event_lasts_ns(const struct nemesis *nemesis, const struct nemesis_event *event);
/* Take back what lasts of it. */
void nemesis_event_ends(struct nemesis *nemesis, const struct nemesis_event *event);

#endif
