/*
 * partition_internal.h - what partition.c and trace.c share
 */
#ifndef PARTITION_PARTITION_INTERNAL_H
#define PARTITION_PARTITION_INTERNAL_H

#include "partition.h"

/* describe_exit() - one readable line about @exit, without a line end; returns @text. */
const char *describe_exit(const struct vp *vp, const struct vp_exit *exit, char *text,
			  size_t bytes);

/* trace_exit() - that line to standard error, in one write. Any thread. */
void trace_exit(const struct vp *vp, const struct vp_exit *exit);

#endif
