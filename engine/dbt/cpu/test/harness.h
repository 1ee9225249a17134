/*
 * harness.h - one VP without an engine, for tests of instruction helpers
 *
 * The MMU is a fake: HARNESS_PAGES pages of linear memory from HARNESS_BASE on, each of which can
 * be absent, read-only, a device, or without direct access (as if it held code). Neighbours in
 * linear memory are not neighbours in host memory. The APIC and everything else that helpers call
 * only records what it was told.
 */
#ifndef DBT_CPU_TEST_HARNESS_H
#define DBT_CPU_TEST_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../control_bits.h"
#include "../operand.h"
#include "decode.h"

#define HARNESS_PAGES 16u
#define HARNESS_BASE  0x10000u

enum page_kind { PAGE_NORMAL, PAGE_ABSENT, PAGE_READ_ONLY, PAGE_INDIRECT, PAGE_DEVICE };

struct harness {
	struct dbt_partition part;
	struct dbt_vp vp;
	enum page_kind kind[HARNESS_PAGES];
	uint8_t memory[HARNESS_PAGES][PAGE_BYTES] __attribute__((aligned(4096)));

	/* what the fakes were told */
	unsigned int mode_updates, mode_changes, cr3_switches, flush_all, flush_page, flush_pcid;
	bool cr3_keep;
	uint64_t flushed_va;
	uint32_t flushed_pcid;
	bool flushed_one_page;
	uint64_t tpr;
	uint32_t apic_index;
	uint64_t apic_value;
	int apic_result;
	enum dbt_leave apic_leave;
	unsigned int tsc_changes;
	uint64_t tsc_offset_then; /* when it was told */
	struct insn insn;	  /* what decode() answers */
};
extern struct harness h;

/* A VP in 64-bit mode at CPL 0, memory normal and zero, the host's CPUID as proposed. */
void harness_reset(void);
/* ... in a flat 32-bit protected mode, in real mode. */
void harness_protected32(void);
void harness_real(void);
void harness_cpl(uint8_t cpl);

/* One byte of linear memory, whatever the page's kind; NULL outside. */
uint8_t *harness_byte(uint64_t va);
void harness_put(uint64_t va, const void *data, size_t bytes);
void harness_get(uint64_t va, void *data, size_t bytes);

/* Asserts that a helper raised exactly this. */
void assert_raised(enum cpu_result result, uint8_t vector);
#define assert_gp(result) assert_raised(result, VEC_GP)
void assert_done(enum cpu_result result);

#endif
