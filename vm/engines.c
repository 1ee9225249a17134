/*
 * engines.c - the one place that names the engines
 */
#include "engines.h"

const struct engine *const engine_table[] = {&kvm_engine, &dbt_engine, NULL};
