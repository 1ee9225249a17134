/*
 * helpers.c - the table of helpers, by enum cpu_helper_id
 */
#include "cpu.h"

#define CONT false
#define END  true

const struct cpu_helper_row cpu_helpers[HELPER_COUNT] = {
#define X(name, end) [HELPER_##name] = {#name, helper_##name, end},
	CPU_HELPERS(X)
#undef X
};
