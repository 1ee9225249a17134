/*
 * hypercall.h - between the dispatcher (hypercall.c) and the calls (calls.c)
 */
#ifndef HV_HYPERCALL_H
#define HV_HYPERCALL_H

#include "hv_internal.h"

/* A call whose control word and input are checked and copied. */
struct hv_call {
	struct hv *hv;
	unsigned int vp;
	const uint8_t *input;	   /* a private copy: fixed part, variable header, rep elements */
	unsigned int variable;	   /* 8-byte units of variable header */
	const uint8_t *banks;	   /* the variable header */
	unsigned int count, start; /* rep calls: start < count */
	unsigned int completed;	   /* rep calls: out: start < completed <= count on success */
	uint8_t output[16];	   /* out: row->output_bytes */
};

struct hv_call_row {
	uint16_t code;
	uint8_t flags; /* CALL_* */
	uint16_t input_bytes;
	uint8_t element_bytes, output_bytes;
	uint64_t privilege;			   /* 0: none needed */
	uint16_t (*perform)(struct hv_call *call); /* an HV_STATUS_* */
};

#define CALL_FAST     1 /* may have its input in registers */
#define CALL_VARIABLE 2 /* may have a variable header */
#define CALL_REP      4
#define CALL_FLUSHES  8 /* offered if services.flush_tlb is there */

/* NULL: no such call. */
const struct hv_call_row *hv_find_call(const struct hv *hv, uint16_t code);

#endif
