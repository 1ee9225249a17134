/*
 * calls.c - the hypercalls, one row each
 *
 * A call that flushes ranges flushes everything of the VPs it names, which is always allowed, and
 * so completes all of its rep elements at once. VPs that do not exist are not an error in a set:
 * nothing of theirs is in need of a flush or an interrupt.
 */
#include "hypercall.h"

#include <string.h>

#define CONNECTION_ID_BITS 24

/* --- sets of VPs --- */

/* @call's variable header holds the banks; only bank 0 can name VPs that exist. */
static uint16_t get_vp_set(const struct hv_call *call, const struct hv_vp_set *set,
			   uint64_t *ret_mask)
{
	uint64_t mask = 0;

	if (set->format > HV_VP_SET_ALL)
		return HV_STATUS_INVALID_PARAMETER;
	if (set->format == HV_VP_SET_ALL) {
		*ret_mask = call->hv->vp_mask;
		return call->variable ? HV_STATUS_INVALID_HYPERCALL_INPUT : HV_STATUS_SUCCESS;
	}
	if (call->variable != (unsigned int)__builtin_popcountll(set->bank_mask))
		return HV_STATUS_INVALID_HYPERCALL_INPUT;
	if (set->bank_mask & 1)
		memcpy(&mask, call->banks, sizeof(mask));
	*ret_mask = mask & call->hv->vp_mask;
	return HV_STATUS_SUCCESS;
}

/* --- TLB flushes --- */

static uint16_t flush(struct hv_call *call, uint64_t mask)
{
	const struct hv_services *services = &call->hv->services;

	if (mask && services->flush_tlb(services->ctx, call->vp, mask) < 0)
		return HV_STATUS_OPERATION_FAILED;
	call->completed = call->count;
	return HV_STATUS_SUCCESS;
}

static bool flags_are_known(uint64_t flags)
{
	return !(flags & ~(HV_FLUSH_ALL_PROCESSORS | HV_FLUSH_ALL_SPACES | HV_FLUSH_NON_GLOBAL |
			   HV_FLUSH_EXTENDED_RANGE));
}

/* An empty mask means all VPs: old versions of Windows say it so. */
static uint16_t perform_flush(struct hv_call *call)
{
	struct hv_input_flush input;

	memcpy(&input, call->input, sizeof(input));
	if (!flags_are_known(input.flags))
		return HV_STATUS_INVALID_PARAMETER;
	if ((input.flags & HV_FLUSH_ALL_PROCESSORS) || !input.vp_mask)
		input.vp_mask = UINT64_MAX;
	return flush(call, input.vp_mask & call->hv->vp_mask);
}

static uint16_t perform_flush_ex(struct hv_call *call)
{
	struct hv_input_flush_ex input;
	uint64_t mask;
	uint16_t status;

	memcpy(&input, call->input, sizeof(input));
	if (!flags_are_known(input.flags))
		return HV_STATUS_INVALID_PARAMETER;
	status = get_vp_set(call, &input.vps, &mask);
	if (status)
		return status;
	if (input.flags & HV_FLUSH_ALL_PROCESSORS)
		mask = call->hv->vp_mask;
	return flush(call, mask);
}

/* --- interprocessor interrupts --- */

static uint16_t send_ipi(struct hv *hv, uint8_t vector, uint64_t mask)
{
	const struct hv_after nothing = {};

	hv_lock(hv);
	for (; mask; mask &= mask - 1)
		hv->services.interrupt(hv->services.ctx, __builtin_ctzll(mask), vector);
	hv_unlock(hv, &nothing);
	return HV_STATUS_SUCCESS;
}

/* The header that both forms begin with: vector, target VTL, padding. */
static bool ipi_is_valid(uint32_t vector, uint8_t vtl, const uint8_t reserved[3])
{
	return vector >= HV_FIRST_VECTOR && vector <= UINT8_MAX && !vtl && !reserved[0] &&
	       !reserved[1] && !reserved[2];
}

static uint16_t perform_send_ipi(struct hv_call *call)
{
	struct hv_input_send_ipi input;

	memcpy(&input, call->input, sizeof(input));
	if (!ipi_is_valid(input.vector, input.vtl, input.reserved))
		return HV_STATUS_INVALID_PARAMETER;
	return send_ipi(call->hv, input.vector, input.vp_mask & call->hv->vp_mask);
}

static uint16_t perform_send_ipi_ex(struct hv_call *call)
{
	struct hv_input_send_ipi_ex input;
	uint64_t mask;
	uint16_t status;

	memcpy(&input, call->input, sizeof(input));
	if (!ipi_is_valid(input.vector, input.vtl, input.reserved))
		return HV_STATUS_INVALID_PARAMETER;
	status = get_vp_set(call, &input.vps, &mask);
	return status ? status : send_ipi(call->hv, input.vector, mask);
}

/* --- messages and events to the host --- */

static uint16_t perform_post_message(struct hv_call *call)
{
	const struct hv_services *services = &call->hv->services;
	struct hv_input_post_message input;

	memcpy(&input, call->input, sizeof(input));
	if (!input.message_type || (input.message_type & HV_MESSAGE_HYPERVISOR) ||
	    input.payload_bytes > HV_MESSAGE_PAYLOAD_BYTES)
		return HV_STATUS_INVALID_PARAMETER;
	if (input.connection_id >> CONNECTION_ID_BITS)
		return HV_STATUS_INVALID_CONNECTION_ID;
	return services->post_message(services->ctx, input.connection_id, input.payload,
				      input.payload_bytes);
}

static uint16_t perform_signal_event(struct hv_call *call)
{
	const struct hv_services *services = &call->hv->services;
	struct hv_input_signal_event input;

	memcpy(&input, call->input, sizeof(input));
	if (input.flag >= HV_EVENT_FLAGS || input.reserved)
		return HV_STATUS_INVALID_PARAMETER;
	if (input.connection_id >> CONNECTION_ID_BITS)
		return HV_STATUS_INVALID_CONNECTION_ID;
	return services->signal_event(services->ctx, input.connection_id, input.flag);
}

/* --- others --- */

static uint16_t perform_long_spin_wait(struct hv_call *call)
{
	const struct hv_services *services = &call->hv->services;

	if (services->yield)
		services->yield(services->ctx);
	return HV_STATUS_SUCCESS;
}

/* No extended call but this one. */
static uint16_t perform_query_capabilities(struct hv_call *call)
{
	memset(call->output, 0, sizeof(call->output));
	return HV_STATUS_SUCCESS;
}

/* Behind a privilege that no partition has. */
static uint16_t perform_never(struct hv_call *call)
{
	return HV_STATUS_OPERATION_DENIED;
}

/* --- the table --- */

/* clang-format off */
static const struct hv_call_row rows[] = {
	/* call, what it may be
	 *	input	element	output bytes	privilege, function */
	{HV_CALL_FLUSH_SPACE, CALL_FLUSHES | CALL_FAST,
		24,	0,	0,	0, perform_flush},
	{HV_CALL_FLUSH_LIST, CALL_FLUSHES | CALL_FAST | CALL_REP,
		24,	8,	0,	0, perform_flush},
	{HV_CALL_LONG_SPIN_WAIT, CALL_FAST,
		8,	0,	0,	0, perform_long_spin_wait},
	{HV_CALL_SEND_IPI, CALL_FAST,
		16,	0,	0,	0, perform_send_ipi},
	{HV_CALL_FLUSH_SPACE_EX, CALL_FLUSHES | CALL_FAST | CALL_VARIABLE,
		32,	0,	0,	0, perform_flush_ex},
	{HV_CALL_FLUSH_LIST_EX, CALL_FLUSHES | CALL_FAST | CALL_VARIABLE | CALL_REP,
		32,	8,	0,	0, perform_flush_ex},
	{HV_CALL_SEND_IPI_EX, CALL_FAST | CALL_VARIABLE,
		24,	0,	0,	0, perform_send_ipi_ex},
	{HV_CALL_GET_PARTITION_ID, 0,
		0,	0,	8,	HV_ACCESS_PARTITION_ID, perform_never},
	{HV_CALL_GET_VP_REGISTERS, CALL_FAST | CALL_REP,
		16,	4,	0,	HV_ACCESS_VP_REGISTERS, perform_never},
	{HV_CALL_SET_VP_REGISTERS, CALL_FAST | CALL_REP,
		16,	32,	0,	HV_ACCESS_VP_REGISTERS, perform_never},
	{HV_CALL_POST_MESSAGE, 0,
		256,	0,	0,	HV_POST_MESSAGES, perform_post_message},
	{HV_CALL_SIGNAL_EVENT, CALL_FAST,
		8,	0,	0,	HV_SIGNAL_EVENTS, perform_signal_event},
	{HV_CALL_START_VP, 0,
		240,	0,	0,	HV_START_VIRTUAL_PROCESSOR, perform_never},
	{HV_CALL_VP_INDEX_FROM_APIC_ID, CALL_FAST | CALL_REP,
		16,	4,	0,	HV_START_VIRTUAL_PROCESSOR, perform_never},
	{HV_CALL_QUERY_CAPABILITIES, 0,
		0,	0,	8,	HV_EXTENDED_HYPERCALLS, perform_query_capabilities},
};
/* clang-format on */

const struct hv_call_row *hv_find_call(const struct hv *hv, uint16_t code)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (rows[i].code != code)
			continue;
		if ((rows[i].flags & CALL_FLUSHES) && !hv->services.flush_tlb)
			return NULL;
		return &rows[i];
	}
	return NULL;
}
