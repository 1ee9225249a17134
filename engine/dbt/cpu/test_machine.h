/*
 * test_machine.h - a VP with a megabyte of flat memory, for tests of segmentation and interrupts
 *
 * Stands in for the MMU (identity mapping, modulo the memory's size), the code cache, the APIC and
 * CPUID. Descriptor tables as Linux lays them out, and beside them descriptors that are wrong in
 * one way each.
 */
#ifndef DBT_TEST_MACHINE_H
#define DBT_TEST_MACHINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "segmentation.h"

#define MACHINE_BYTES (1u << 20)
#define NOWHERE 0x7f000ull /* page that is not present unless a test says otherwise */

struct mmu {
	uint8_t bytes[MACHINE_BYTES];
	uint64_t mmio_page; /* reads exit, writes are taken; 0: none */
	unsigned int reads, writes, flushes;
};

struct machine {
	struct dbt_vp *vp;
	struct dbt_partition part;
	struct mmu mmu;
	bool apic_refuses;
};

#define GDT 0x1000u
#define IDT 0x2000u
#define TSS 0x4000u
#define LDT 0x5000u
#define RSP0 0x10000u
#define IST1 0x12000u
#define KERNEL_RSP 0x14008u
#define USER_RSP 0x18000u
#define KERNEL_RIP 0x20000u
#define USER_RIP 0x30000u
#define HANDLER(vector) (0x40000u + (vector) * 16u)

enum {
	K_CODE32 = 0x08, K_CODE64 = 0x10, K_DATA = 0x18, U_CODE32 = 0x20, U_DATA = 0x28, U_CODE64 = 0x30,
	SEL_TSS = 0x40, SEL_LDT = 0x50, CODE16 = 0x60, DATA16 = 0x68, CONFORMING = 0x70, READ_ONLY = 0x78,
	ABSENT_DATA = 0x80, EXECUTE_ONLY = 0x88, CALL_GATE = 0x90, FRESH_DATA = 0x98, LONG_AND_BIG = 0xa0,
	ABSENT_CODE = 0xa8, TASK_GATE = 0xb0, INNER_GATE = 0xb8, GDT_BYTES = 0xc0
};

struct machine *machine_new(void);
void machine_free(struct machine *machine);
/* 64-bit code at @cpl; compatibility mode; 32-bit protected mode without long mode; real mode. */
struct machine *machine_long(unsigned int cpl);
struct machine *machine_compat(unsigned int cpl);
struct machine *machine_protected(unsigned int cpl);
struct machine *machine_real(void);

uint64_t make_descriptor(uint32_t base, uint32_t limit, uint32_t access);
void put_bytes(struct machine *machine, uint64_t at, const void *bytes, size_t count);
void put64(struct machine *machine, uint64_t at, uint64_t value);
uint64_t get64(struct machine *machine, uint64_t at);
uint32_t get32(struct machine *machine, uint64_t at);
uint16_t get16(struct machine *machine, uint64_t at);
/* Gate of the mode the machine is in; type 14/15 (6/7: 16-bit). */
void put_gate(struct machine *machine, uint8_t vector, uint16_t selector, uint8_t type, uint8_t dpl, uint8_t ist);

#define assert_raised(vp, number, code)                                                            \
	do {                                                                                       \
		assert_int_equal((vp)->exception.vector, number);                                  \
		assert_int_equal((vp)->exception.error, code);                                     \
	} while (0)

#endif
