/*
 * hypercall.c - from registers to a checked call and back: the TLFS' "hypercall interface"
 *
 * The checks, in their order, and what fails:
 *	unknown code; reserved bits first	INVALID_HYPERCALL_CODE, _INPUT
 *	privilege				ACCESS_DENIED
 *	control word against the call's row	INVALID_HYPERCALL_INPUT
 *	input in XMM registers, not offered	#UD
 *	addresses: alignment, page's end	INVALID_ALIGNMENT
 *	addresses: not RAM			INVALID_HYPERCALL_INPUT
 *	values					the call's matter
 *
 * Input is copied once, before anything looks at it, to the VP's scratch page; an input never
 * crosses a page, so it fits. Output is written after success only.
 */
#include "hypercall.h"

#include <string.h>

struct request {
	uint64_t control, input, output;
};

static uint64_t pair(uint64_t high, uint64_t low)
{
	return high << 32 | (uint32_t)low;
}

static struct request get_request(const struct hv_hypercall_registers *registers)
{
	if (registers->long_mode)
		return (struct request){registers->rcx, registers->rdx, registers->r8};
	return (struct request){pair(registers->rdx, registers->rax),
				pair(registers->rbx, registers->rcx),
				pair(registers->rdi, registers->rsi)};
}

static void set_result(struct hv_hypercall_registers *registers, uint64_t result)
{
	registers->rax = result;
	if (registers->long_mode)
		return;
	registers->rax = (uint32_t)result;
	registers->rdx = result >> 32;
}

static size_t input_bytes(const struct hv_call_row *row, const struct hv_call *call)
{
	return row->input_bytes + call->variable * 8 + call->count * row->element_bytes;
}

static bool control_fits(const struct hv_call_row *row, uint64_t control)
{
	unsigned int count = HV_CONTROL_COUNT(control), start = HV_CONTROL_START(control);

	if (control & HV_CONTROL_RESERVED)
		return false;
	if ((control & HV_CONTROL_FAST) && !(row->flags & CALL_FAST))
		return false;
	if (HV_CONTROL_VARIABLE(control) && !(row->flags & CALL_VARIABLE))
		return false;
	return (row->flags & CALL_REP) ? start < count : !start && !count;
}

/* Two registers, then XMM0-5, as if they were memory. */
static uint16_t get_fast_input(struct hv_call *call, const struct request *request, size_t bytes)
{
	struct hv *hv = call->hv;
	uint8_t *input = hv->vps[call->vp].scratch;
	uint8_t xmm[6][16];

	if (bytes > HV_XMM_FAST_BYTES)
		return HV_STATUS_INVALID_HYPERCALL_INPUT;
	memcpy(input, &request->input, 8);
	memcpy(input + 8, &request->output, 8);
	if (bytes <= HV_FAST_BYTES)
		return HV_STATUS_SUCCESS;
	if (hv->services.get_xmm(hv->services.ctx, call->vp, xmm) < 0)
		return HV_STATUS_OPERATION_FAILED;
	memcpy(input + HV_FAST_BYTES, xmm, sizeof(xmm));
	return HV_STATUS_SUCCESS;
}

/* Where @bytes of input or output are; @bytes 0: the address does not matter. */
static uint16_t find_parameters(struct hv *hv, gpa_t gpa, size_t bytes, void **ret_host)
{
	*ret_host = NULL;
	if (!bytes)
		return HV_STATUS_SUCCESS;
	if (!IS_ALIGNED(gpa, 8) || (gpa & (PAGE_BYTES - 1)) + bytes > PAGE_BYTES)
		return HV_STATUS_INVALID_ALIGNMENT;
	*ret_host = hv->services.ram(hv->services.ctx, gpa, bytes);
	return *ret_host ? HV_STATUS_SUCCESS : HV_STATUS_INVALID_HYPERCALL_INPUT;
}

static uint16_t perform_fast(const struct hv_call_row *row, struct hv_call *call,
			     const struct request *request)
{
	uint16_t status = get_fast_input(call, request, input_bytes(row, call));

	return status ? status : row->perform(call);
}

static uint16_t perform_in_memory(const struct hv_call_row *row, struct hv_call *call,
				  const struct request *request)
{
	struct hv *hv = call->hv;
	size_t bytes = input_bytes(row, call);
	void *input, *output;
	uint16_t status = find_parameters(hv, request->input, bytes, &input);

	if (!status)
		status = find_parameters(hv, request->output, row->output_bytes, &output);
	if (status)
		return status;
	if (input)
		memcpy(hv->vps[call->vp].scratch, input, bytes);
	status = row->perform(call);
	if (!status && output) {
		memcpy(output, call->output, row->output_bytes);
		hv->services.ram_written(hv->services.ctx, request->output, row->output_bytes);
	}
	return status;
}

static struct hv_call make_call(struct hv *hv, unsigned int vp, const struct hv_call_row *row,
				uint64_t control)
{
	const uint8_t *input = hv->vps[vp].scratch;

	return (struct hv_call){.hv = hv,
				.vp = vp,
				.input = input,
				.variable = HV_CONTROL_VARIABLE(control),
				.banks = input + row->input_bytes,
				.count = HV_CONTROL_COUNT(control),
				.start = HV_CONTROL_START(control),
				.completed = HV_CONTROL_START(control)};
}

static bool wants_missing_xmm(const struct hv_call_row *row, const struct hv_call *call)
{
	return input_bytes(row, call) > HV_FAST_BYTES && !call->hv->services.get_xmm;
}

static uint64_t refusal(const struct hv *hv, const struct hv_call_row *row, uint64_t control)
{
	if (!row)
		return (control & HV_CONTROL_RESERVED) ? HV_STATUS_INVALID_HYPERCALL_INPUT
						       : HV_STATUS_INVALID_HYPERCALL_CODE;
	if (row->privilege & ~hv->privileges)
		return HV_STATUS_ACCESS_DENIED;
	return control_fits(row, control) ? HV_STATUS_SUCCESS : HV_STATUS_INVALID_HYPERCALL_INPUT;
}

bool hv_hypercall(struct hv *hv, unsigned int vp, struct hv_hypercall_registers *registers)
{
	const struct request request = get_request(registers);
	bool fast = request.control & HV_CONTROL_FAST;
	const struct hv_call_row *row = hv_find_call(hv, HV_CONTROL_CODE(request.control));
	uint64_t result = refusal(hv, row, request.control);
	struct hv_call call;

	if (!result) {
		call = make_call(hv, vp, row, request.control);
		if (fast && wants_missing_xmm(row, &call))
			return false;
		result = fast ? perform_fast(row, &call, &request)
			      : perform_in_memory(row, &call, &request);
		if (row->flags & CALL_REP)
			result |= (uint64_t)call.completed << HV_RESULT_COMPLETED_SHIFT;
	}
	set_result(registers, result);
	return true;
}
