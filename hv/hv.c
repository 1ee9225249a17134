/*
 * hv.c - the hypervisor's life: creation, reset, the lock
 *
 * cpuid.c offers, msr.c and hypercall.c are the guest's doors (tables), synic.c and stimer.c stand
 * behind them; hv_internal.h has the rules that all of them keep.
 */
#include "hv_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int hv_new(const struct hv_config *config, struct hv **ret_hv)
{
	struct hv *hv;

	/* The scale is a fraction below 1. */
	if (!config->vp_count || config->vp_count > PARTITION_MAX_VPS ||
	    config->tsc_hz <= HV_REFERENCE_HZ)
		return -EINVAL;
	hv = calloc(1, sizeof(*hv) + config->vp_count * sizeof(hv->vps[0]));
	if (!hv)
		return -ENOMEM;
	hv->config = *config;
	hv->services = config->services;
	hv->privileges = hv_privileges(config);
	hv->vp_mask = UINT64_MAX >> (64 - config->vp_count);
	hv->scale = hv_scale(config->tsc_hz);
	for (unsigned int vp = 0; vp < config->vp_count; vp++)
		hv_synic_reset(&hv->vps[vp]);
	hv_start_time(hv, 0);
	*ret_hv = hv;
	return 0;
}

void hv_free(struct hv *hv)
{
	free(hv);
}

static void reset_partition(struct hv *hv)
{
	__atomic_store_n(&hv->guest_os_id, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&hv->hypercall_page, 0, __ATOMIC_RELAXED);
	hv->reference_tsc = 0;
	hv->tsc_sequence = 0;
	hv->tsc_invariant = 0;
	memset(hv->crash_parameters, 0, sizeof(hv->crash_parameters));
	memset(hv->reenlightenment, 0, sizeof(hv->reenlightenment));
	hv_start_time(hv, 0);
}

/* What was refused stays noted: whoever waits is still owed synic_ready(). */
void hv_reset(struct hv *hv)
{
	const struct hv_after nothing = {};

	hv_lock(hv);
	reset_partition(hv);
	for (unsigned int vp = 0; vp < hv->config.vp_count; vp++) {
		hv_stimers_reset(hv, vp);
		hv_synic_reset(&hv->vps[vp]);
		hv->vps[vp].assist_page = 0;
	}
	hv_unlock(hv, &nothing);
}

uint64_t hv_guest_os_id(const struct hv *hv)
{
	return __atomic_load_n(&hv->guest_os_id, __ATOMIC_RELAXED);
}

void hv_lock(struct hv *hv)
{
	hv->services.lock(hv->services.ctx);
}

void hv_unlock(struct hv *hv, const struct hv_after *after)
{
	const struct hv_services *services = &hv->services;

	services->unlock(services->ctx);
	for (unsigned int i = 0; i < after->written_count; i++)
		services->ram_written(services->ctx, after->written[i].gpa,
				      after->written[i].bytes);
	if (after->synic_ready)
		services->synic_ready(services->ctx);
}

/* Several writes to one page are announced as one, from its start. */
void hv_note_written(struct hv_after *after, gpa_t gpa, uint64_t bytes)
{
	struct hv_written *written = after->written;

	for (unsigned int i = 0; i < after->written_count; i++, written++) {
		if ((written->gpa ^ gpa) & HV_PAGE_ADDRESS)
			continue;
		bytes = MAX(gpa + bytes, written->gpa + written->bytes) - (gpa & HV_PAGE_ADDRESS);
		*written = (struct hv_written){gpa & HV_PAGE_ADDRESS, bytes};
		return;
	}
	assert(after->written_count < ARRAY_SIZE(after->written));
	*written = (struct hv_written){gpa, bytes};
	after->written_count++;
}

void *hv_enabled_page(struct hv *hv, uint64_t msr, uint64_t offset, uint64_t bytes)
{
	if (!(msr & HV_PAGE_ENABLE))
		return NULL;
	return hv->services.ram(hv->services.ctx, (msr & HV_PAGE_ADDRESS) + offset, bytes);
}

bool hv_page_appears(uint64_t old, uint64_t value)
{
	return (value & HV_PAGE_ENABLE) && ((old ^ value) & (HV_PAGE_ENABLE | HV_PAGE_ADDRESS));
}
