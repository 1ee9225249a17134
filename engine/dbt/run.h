/* run.h - the run loop of a VP and the host signals it lives with */
#ifndef DBT_RUN_H
#define DBT_RUN_H

#include "partition_dbt.h"

/* vp_run() of partition.h. */
int dbt_vp_run(struct vp *vp, struct vp_exit *exit);

/* Installs the handlers for SIGSEGV, SIGBUS, SIGFPE and SIGILL, once per process. */
void dbt_signals_install(void);

#endif
