/*
 * ic.c - the integration services as one object: the table, life, status
 *
 * A service is a row here and a file of its own. Rows stand in the order of enum ic_service.
 */
#include <errno.h>
#include <stdlib.h>

#include "ic_internal.h"

static const struct ic_row *const rows[IC_SERVICE_COUNT] = {
	[IC_HEARTBEAT] = &ic_heartbeat_row,
	[IC_SHUTDOWN] = &ic_shutdown_row,
	[IC_TIMESYNC] = &ic_timesync_row,
	[IC_KVP] = &ic_kvp_row,
	[IC_VSS] = &ic_vss_row,
	[IC_FCOPY] = &ic_fcopy_row,
};

int ic_new(const struct ic_config *config, struct ic **ret_ic)
{
	struct ic *ic = calloc(1, sizeof(*ic));

	if (!ic)
		return -ENOMEM;
	ic->config = *config;
	for (int i = 0; i < IC_SERVICE_COUNT; i++) {
		int r = ic_provider_init(&ic->services[i], ic, rows[i]);

		if (r) {
			ic_free(ic);
			return r;
		}
	}
	*ret_ic = ic;
	return 0;
}

void ic_free(struct ic *ic)
{
	if (!ic)
		return;
	for (int i = IC_SERVICE_COUNT; i-- > 0;)
		ic_provider_destroy(&ic->services[i]);
	free(ic);
}

void ic_get_status(const struct ic *ic, struct ic_status status[IC_SERVICE_COUNT])
{
	for (int i = 0; i < IC_SERVICE_COUNT; i++) {
		const struct ic_provider *provider = &ic->services[i];

		status[i] = (struct ic_status){
			.name = provider->row->name,
			.open = provider->phase == IC_READY,
			.framework = {provider->framework.major, provider->framework.minor},
			.message = {provider->message_version.major,
				    provider->message_version.minor},
		};
	}
}
