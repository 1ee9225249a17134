/*
 * hv_tlfs.h - the hypervisor interface: CPUID leaves, synthetic MSRs, hypercalls, SynIC pages
 *
 * Source: Microsoft, "Hypervisor Top Level Functional Specification" (TLFS), web edition where it
 * and the 6.0b PDF differ. Names are the TLFS', shortened as Linux shortens them.
 */
#ifndef WIRE_HV_TLFS_H
#define WIRE_HV_TLFS_H

#include "base.h"

/* --- CPUID --- */

#define HV_CPUID_VENDOR	     0x40000000u
#define HV_CPUID_INTERFACE   0x40000001u
#define HV_CPUID_VERSION     0x40000002u
#define HV_CPUID_FEATURES    0x40000003u
#define HV_CPUID_HINTS	     0x40000004u
#define HV_CPUID_LIMITS	     0x40000005u
#define HV_CPUID_HARDWARE    0x40000006u
#define HV_CPUID_ISOLATION   0x4000000cu
#define HV_CPUID_VS_VENDOR   0x40000080u
#define HV_CPUID_VS_FEATURES 0x40000082u

#define HV_INTERFACE_HV1 0x31237648u /* "Hv#1" */

/* HV_CPUID_FEATURES: EBX:EAX, the partition's privileges */
#define HV_ACCESS_VP_RUNTIME	   BIT(0)
#define HV_ACCESS_TIME_REF_COUNT   BIT(1)
#define HV_ACCESS_SYNIC		   BIT(2)
#define HV_ACCESS_STIMER	   BIT(3)
#define HV_ACCESS_APIC		   BIT(4)
#define HV_ACCESS_HYPERCALL	   BIT(5)
#define HV_ACCESS_VP_INDEX	   BIT(6)
#define HV_ACCESS_RESET		   BIT(7)
#define HV_ACCESS_REFERENCE_TSC	   BIT(9)
#define HV_ACCESS_GUEST_IDLE	   BIT(10)
#define HV_ACCESS_FREQUENCIES	   BIT(11)
#define HV_ACCESS_REENLIGHTENMENT  BIT(13)
#define HV_ACCESS_TSC_INVARIANT	   BIT(15)
#define HV_ACCESS_PARTITION_ID	   BIT(32 + 1)
#define HV_POST_MESSAGES	   BIT(32 + 4)
#define HV_SIGNAL_EVENTS	   BIT(32 + 5)
#define HV_CPU_MANAGEMENT	   BIT(32 + 12)
#define HV_ACCESS_VP_REGISTERS	   BIT(32 + 17)
#define HV_EXTENDED_HYPERCALLS	   BIT(32 + 20)
#define HV_START_VIRTUAL_PROCESSOR BIT(32 + 21)

/* HV_CPUID_FEATURES: EDX */
#define HV_FEATURE_XMM_INPUT	 BIT(4)
#define HV_FEATURE_FREQUENCIES	 BIT(8)
#define HV_FEATURE_CRASH_MSRS	 BIT(10)
#define HV_FEATURE_DIRECT_STIMER BIT(19)

/* HV_CPUID_HINTS: EAX */
#define HV_HINT_REMOTE_FLUSH   BIT(2)
#define HV_HINT_APIC_MSRS      BIT(3)
#define HV_HINT_RELAXED_TIMING BIT(5)
#define HV_HINT_NO_AUTO_EOI    BIT(9)
#define HV_HINT_CLUSTER_IPI    BIT(10)
#define HV_HINT_EX_CALLS       BIT(11)

/* --- synthetic MSRs --- */

#define HV_MSR_GUEST_OS_ID	    0x40000000u
#define HV_MSR_HYPERCALL	    0x40000001u
#define HV_MSR_VP_INDEX		    0x40000002u
#define HV_MSR_RESET		    0x40000003u
#define HV_MSR_VP_RUNTIME	    0x40000010u
#define HV_MSR_TIME_REF_COUNT	    0x40000020u
#define HV_MSR_REFERENCE_TSC	    0x40000021u
#define HV_MSR_TSC_FREQUENCY	    0x40000022u
#define HV_MSR_APIC_FREQUENCY	    0x40000023u
#define HV_MSR_EOI		    0x40000070u
#define HV_MSR_VP_ASSIST_PAGE	    0x40000073u
#define HV_MSR_SCONTROL		    0x40000080u
#define HV_MSR_SVERSION		    0x40000081u
#define HV_MSR_SIEFP		    0x40000082u
#define HV_MSR_SIMP		    0x40000083u
#define HV_MSR_EOM		    0x40000084u
#define HV_MSR_SINT0		    0x40000090u
#define HV_MSR_SINT15		    0x4000009fu
#define HV_MSR_STIMER0_CONFIG	    0x400000b0u
#define HV_MSR_STIMER0_COUNT	    0x400000b1u
#define HV_MSR_STIMER3_COUNT	    0x400000b7u
#define HV_MSR_GUEST_IDLE	    0x400000f0u
#define HV_MSR_CRASH_P0		    0x40000100u
#define HV_MSR_CRASH_P4		    0x40000104u
#define HV_MSR_CRASH_CTL	    0x40000105u
#define HV_MSR_REENLIGHTENMENT	    0x40000106u
#define HV_MSR_TSC_EMULATION	    0x40000107u
#define HV_MSR_TSC_EMULATION_STATUS 0x40000108u
#define HV_MSR_TSC_INVARIANT	    0x40000118u

/* HYPERCALL, REFERENCE_TSC, VP_ASSIST_PAGE, SIEFP, SIMP: bit 0 and the page's number above bit 11
 */
#define HV_PAGE_ENABLE	    BIT(0)
#define HV_PAGE_ADDRESS	    (~0xfffull)
#define HV_HYPERCALL_LOCKED BIT(1)

#define HV_SCONTROL_ENABLE BIT(0)
#define HV_SVERSION_1	   1

#define HV_SINT_VECTOR(sint) ((uint8_t)(sint))
#define HV_SINT_MASKED	     BIT(16)
#define HV_SINT_AUTO_EOI     BIT(17)
#define HV_SINT_POLLING	     BIT(18)
#define HV_SINT_RESET	     HV_SINT_MASKED
#define HV_FIRST_VECTOR	     16 /* the lowest that a fixed interrupt can have */

#define HV_STIMER_ENABLE	 BIT(0)
#define HV_STIMER_PERIODIC	 BIT(1)
#define HV_STIMER_LAZY		 BIT(2)
#define HV_STIMER_AUTO_ENABLE	 BIT(3)
#define HV_STIMER_VECTOR(config) ((uint8_t)((config) >> 4))
#define HV_STIMER_DIRECT	 BIT(12)
#define HV_STIMER_SINT(config)	 ((unsigned int)((config) >> 16) & 15)
#define HV_STIMER_RESERVED	 (~0xf1fffull)

#define HV_CRASH_MESSAGE BIT(62)
#define HV_CRASH_NOTIFY	 BIT(63)

#define HV_REFERENCE_HZ 10000000ull /* reference time counts 100 ns */

struct hv_reference_tsc_page {
	le32 sequence; /* 0: not valid, read TIME_REF_COUNT */
	le32 reserved;
	le64 scale;  /* 64 bits right of the binary point */
	le64 offset; /* signed, 100 ns */
};
WIRE_SIZE(struct hv_reference_tsc_page, 24);

/* --- SynIC pages: sixteen slots of 256 bytes each --- */

#define HV_MESSAGE_PAYLOAD_BYTES 240
#define HV_EVENT_FLAGS		 2048 /* of one SINT */

#define HV_MESSAGE_NONE		 0u
#define HV_MESSAGE_VMBUS	 1u
#define HV_MESSAGE_TIMER_EXPIRED 0x80000010u
#define HV_MESSAGE_HYPERVISOR	 0x80000000u /* types that a guest may not post have this bit */
#define HV_MESSAGE_PENDING	 1	     /* in flags */

struct hv_message {
	le32 type; /* HV_MESSAGE_NONE: the slot is free */
	uint8_t payload_bytes;
	uint8_t flags;
	le16 reserved;
	le64 origin; /* port or sender; 0 for timers */
	uint8_t payload[HV_MESSAGE_PAYLOAD_BYTES];
};
WIRE_SIZE(struct hv_message, 256);
WIRE_AT(struct hv_message, payload, 16);

struct hv_timer_payload {
	le32 timer;
	le32 reserved;
	le64 expiration_100ns;
	le64 delivery_100ns;
};
WIRE_SIZE(struct hv_timer_payload, 24);

/* --- hypercalls --- */

#define HV_CALL_FLUSH_SPACE	      0x0002
#define HV_CALL_FLUSH_LIST	      0x0003
#define HV_CALL_LONG_SPIN_WAIT	      0x0008
#define HV_CALL_SEND_IPI	      0x000b
#define HV_CALL_FLUSH_SPACE_EX	      0x0013
#define HV_CALL_FLUSH_LIST_EX	      0x0014
#define HV_CALL_SEND_IPI_EX	      0x0015
#define HV_CALL_GET_PARTITION_ID      0x0046
#define HV_CALL_GET_VP_REGISTERS      0x0050
#define HV_CALL_SET_VP_REGISTERS      0x0051
#define HV_CALL_POST_MESSAGE	      0x005c
#define HV_CALL_SIGNAL_EVENT	      0x005d
#define HV_CALL_START_VP	      0x0099
#define HV_CALL_VP_INDEX_FROM_APIC_ID 0x009a
#define HV_CALL_QUERY_CAPABILITIES    0x8001

/* The control word */
#define HV_CONTROL_CODE(control)     ((uint16_t)(control))
#define HV_CONTROL_FAST		     BIT(16)
#define HV_CONTROL_VARIABLE(control) ((unsigned int)((control) >> 17) & 0x3ff) /* 8-byte units */
#define HV_CONTROL_COUNT(control)    ((unsigned int)((control) >> 32) & 0xfff)
#define HV_CONTROL_START(control)    ((unsigned int)((control) >> 48) & 0xfff)
#define HV_CONTROL_VARIABLE_SHIFT    17
#define HV_CONTROL_COUNT_SHIFT	     32
#define HV_CONTROL_START_SHIFT	     48
#define HV_CONTROL_RESERVED	     0xf000f000f8000000ull
#define HV_RESULT_COMPLETED_SHIFT    32

#define HV_FAST_BYTES	  16  /* two registers */
#define HV_XMM_FAST_BYTES 112 /* and XMM0-5 */

#define HV_STATUS_SUCCESS		  0x00
#define HV_STATUS_INVALID_HYPERCALL_CODE  0x02
#define HV_STATUS_INVALID_HYPERCALL_INPUT 0x03
#define HV_STATUS_INVALID_ALIGNMENT	  0x04
#define HV_STATUS_INVALID_PARAMETER	  0x05
#define HV_STATUS_ACCESS_DENIED		  0x06
#define HV_STATUS_OPERATION_DENIED	  0x08
#define HV_STATUS_INSUFFICIENT_MEMORY	  0x0b
#define HV_STATUS_INVALID_VP_INDEX	  0x0e
#define HV_STATUS_INVALID_PORT_ID	  0x11
#define HV_STATUS_INVALID_CONNECTION_ID	  0x12
#define HV_STATUS_INSUFFICIENT_BUFFERS	  0x13
#define HV_STATUS_INVALID_SYNIC_STATE	  0x18
#define HV_STATUS_OPERATION_FAILED	  0x71

struct hv_input_post_message {
	le32 connection_id; /* 24 bits */
	le32 reserved;
	le32 message_type;
	le32 payload_bytes;
	uint8_t payload[HV_MESSAGE_PAYLOAD_BYTES];
};
WIRE_SIZE(struct hv_input_post_message, 256);

struct hv_input_signal_event {
	le32 connection_id; /* 24 bits */
	le16 flag;
	le16 reserved;
};
WIRE_SIZE(struct hv_input_signal_event, 8);

/* A set of VPs. Banks follow: one le64 for each bit in bank_mask, bank i of VPs 64 i to 64 i + 63
 */
#define HV_VP_SET_SPARSE 0
#define HV_VP_SET_ALL	 1

struct hv_vp_set {
	le64 format;
	le64 bank_mask;
};
WIRE_SIZE(struct hv_vp_set, 16);

struct hv_input_send_ipi {
	le32 vector;
	uint8_t vtl;
	uint8_t reserved[3];
	le64 vp_mask;
};
WIRE_SIZE(struct hv_input_send_ipi, 16);

struct hv_input_send_ipi_ex {
	le32 vector;
	uint8_t vtl;
	uint8_t reserved[3];
	struct hv_vp_set vps;
};
WIRE_SIZE(struct hv_input_send_ipi_ex, 24);

#define HV_FLUSH_ALL_PROCESSORS BIT(0)
#define HV_FLUSH_ALL_SPACES	BIT(1)
#define HV_FLUSH_NON_GLOBAL	BIT(2)
#define HV_FLUSH_EXTENDED_RANGE BIT(3)

/* The list form adds a rep element for each range: le64, bits 11:0 are further pages. */
struct hv_input_flush {
	le64 address_space;
	le64 flags;
	le64 vp_mask;
};
WIRE_SIZE(struct hv_input_flush, 24);

struct hv_input_flush_ex {
	le64 address_space;
	le64 flags;
	struct hv_vp_set vps;
};
WIRE_SIZE(struct hv_input_flush_ex, 32);

#endif
