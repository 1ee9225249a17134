/*
 * storvsp.c - controllers: creation, attaching and detaching of drives
 */
#include "storvsp.h"

#include <errno.h>

int storvsp_new(const struct storvsp_config *config, struct storvsp **ret_storvsp)
{
	return -ENOSYS;
}

void storvsp_free(struct storvsp *storvsp)
{
}

int storvsp_attach(struct storvsp *storvsp, unsigned int lun, const struct storvsp_drive *drive)
{
	return -ENOSYS;
}

int storvsp_detach(struct storvsp *storvsp, unsigned int lun, void (*done)(void *ctx), void *ctx)
{
	return -ENOENT;
}

int storvsp_change_medium(struct storvsp *storvsp, unsigned int lun, struct disk *disk,
			  void (*done)(void *ctx), void *ctx)
{
	return -ENOENT;
}

void storvsp_retry(struct storvsp *storvsp)
{
}

void storvsp_get_stats(struct storvsp *storvsp, unsigned int lun, struct storvsp_stats *ret_stats)
{
	*ret_stats = (struct storvsp_stats){0};
}
