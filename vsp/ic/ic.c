/*
 * ic.c - the integration services as one object (nothing is offered yet)
 */
#include "ic.h"

#include <errno.h>
#include <stdlib.h>

struct ic {
	struct ic_config config;
};

int ic_new(const struct ic_config *config, struct ic **ret_ic)
{
	struct ic *ic = calloc(1, sizeof(*ic));

	if (!ic)
		return -ENOMEM;
	ic->config = *config;
	*ret_ic = ic;
	return 0;
}

void ic_free(struct ic *ic)
{
	free(ic);
}

void ic_get_status(const struct ic *ic, struct ic_status status[IC_SERVICE_COUNT])
{
	for (int i = 0; i < IC_SERVICE_COUNT; i++)
		status[i] = (struct ic_status){ .name = "" };
}

void ic_get_heartbeat(const struct ic *ic, struct ic_heartbeat *ret_heartbeat)
{
	*ret_heartbeat = (struct ic_heartbeat){ .state = IC_HEARTBEAT_NO_CONTACT };
}

int ic_shutdown(struct ic *ic, enum ic_shutdown_kind kind, bool force, const char *reason,
		ic_done *done, void *ctx)
{
	return -ENOTCONN;
}

int ic_sync_time(struct ic *ic, bool step)
{
	return -ENOTCONN;
}

int ic_kvp_get(struct ic *ic, enum ic_kvp_pool pool, const char *key, ic_kvp_pair *pair, void *ctx)
{
	return -ENOTCONN;
}

int ic_kvp_enumerate(struct ic *ic, enum ic_kvp_pool pool, ic_kvp_pair *pair, void *ctx)
{
	return -ENOTCONN;
}

int ic_kvp_set(struct ic *ic, enum ic_kvp_pool pool, const char *key, const char *value,
	       ic_done *done, void *ctx)
{
	return -ENOTCONN;
}

int ic_kvp_delete(struct ic *ic, enum ic_kvp_pool pool, const char *key, ic_done *done, void *ctx)
{
	return -ENOTCONN;
}

int ic_kvp_get_ip(struct ic *ic, const char *mac, ic_kvp_pair *pair, void *ctx)
{
	return -ENOTCONN;
}

int ic_freeze(struct ic *ic, ic_done *done, void *ctx)
{
	return -ENOTCONN;
}

int ic_thaw(struct ic *ic, ic_done *done, void *ctx)
{
	return -ENOTCONN;
}

int ic_copy_file(struct ic *ic, const struct ic_copy *copy, ic_done *done, void *ctx)
{
	return -ENOTCONN;
}
