/* run.h - the run loop of a VP and the host signals it lives with */
#ifndef DBT_RUN_H
#define DBT_RUN_H

#include "partition_dbt.h"

#define SIGNAL_STACK_BYTES (64 * KIB) /* of vp->signal_stack */

/* vp_run() of partition.h. */
int dbt_vp_run(struct vp *vp, struct vp_exit *exit);

/* The VP is going away: the calling thread, if it ran it last, no longer takes signals on its stack. */
void dbt_release_thread(struct dbt_vp *vp);

/* Installs the handlers for SIGSEGV, SIGBUS, SIGFPE and SIGILL, once per process. */
void dbt_signals_install(void);

#endif
