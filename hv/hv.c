/*
 * hv.c - the hypervisor as a guest sees it; every call answers as if nothing were offered yet
 */
#include "hv.h"

#include <errno.h>
#include <stdlib.h>

struct hv {
	struct hv_config config;
};

int hv_new(const struct hv_config *config, struct hv **ret_hv)
{
	struct hv *hv;

	if (!config->vp_count || config->vp_count > PARTITION_MAX_VPS || !config->tsc_hz)
		return -EINVAL;
	hv = calloc(1, sizeof(*hv));
	if (!hv)
		return -ENOMEM;
	hv->config = *config;
	*ret_hv = hv;
	return 0;
}

void hv_free(struct hv *hv)
{
	free(hv);
}

size_t hv_cpuid(const struct hv_config *config, struct cpuid_leaf leaves[HV_CPUID_LEAVES])
{
	return 0;
}

bool hv_read_msr(struct hv *hv, unsigned int vp, uint32_t index, uint64_t *ret_value)
{
	return false;
}

bool hv_write_msr(struct hv *hv, unsigned int vp, uint32_t index, uint64_t value, bool long_mode)
{
	return false;
}

bool hv_hypercall(struct hv *hv, unsigned int vp, struct hv_hypercall_registers *registers)
{
	return false;
}

bool hv_is_hypercall_page(const struct hv *hv, gpa_t gpa)
{
	return false;
}

int hv_post_message(struct hv *hv, unsigned int vp, unsigned int sint, uint32_t type,
		    const void *payload, uint32_t bytes)
{
	return -EAGAIN;
}

int hv_signal_flag(struct hv *hv, unsigned int vp, unsigned int sint, unsigned int flag)
{
	return -EAGAIN;
}

void hv_timer_expired(struct hv *hv, unsigned int vp, unsigned int timer)
{
}

uint64_t hv_reference_time(struct hv *hv)
{
	return 0;
}

void hv_set_reference_time(struct hv *hv, uint64_t now_100ns)
{
}

void hv_reset(struct hv *hv)
{
}

uint64_t hv_guest_os_id(const struct hv *hv)
{
	return 0;
}
