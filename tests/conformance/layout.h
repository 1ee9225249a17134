/*
 * layout.h - where things are in the guest, for the C side and the payloads (assembly) alike
 *
 * Everything below 4 GiB is mapped where it is, with 2 MiB pages, supervisor, writable,
 * executable. Special linear addresses are above. RAM is [0, RAM_BYTES).
 */
#ifndef CONFORMANCE_LAYOUT_H
#define CONFORMANCE_LAYOUT_H

#define RAM_BYTES 0x1000000

#define PML4_AT   0x1000
#define PDPT_AT   0x2000
#define PD_AT     0x3000 /* four of them, 4 GiB */
#define GDT_AT    0x7000
#define IDT_AT    0x8000
#define TSS_AT    0x9000
#define STUBS_AT  0xa000 /* 256 exception and interrupt entries of 16 bytes, common code after */
#define HYPERCALL_AT 0xc000
#define PD2_AT    0xd000 /* for the special linear addresses */
#define PT_AT     0xe000
#define CODE_AT   0x10000 /* + index * CODE_BYTES */
#define CODE_BYTES 0x4000
#define DATA_AT   0x20000
#define STACK_TOP 0x40000 /* - index * STACK_BYTES */
#define STACK_BYTES 0x4000
#define SIPI_AT   0x50000 /* where real-mode payloads start */
#define SIPI_VECTOR 0x50

/* Written by the entry stubs */
#define FAULTS_AT   0x22000 /* FAULT_BYTES each, in order */
#define FAULT_BYTES 64
#define FAULT_COUNT 0x21000 /* u64 */
#define RECOVER_RIP 0x21008 /* u64: where a handled exception continues, 0: unexpected */
#define EOI_MODE    0x21010 /* u32 */
#define EOI_NONE    0
#define EOI_X2APIC  1
#define EOI_XAPIC   2
#define IRQ_COUNTS  0x21400 /* u32 by vector */
#define EXPECT_RIPS 0x23000 /* u64 by fault number, written by the payload */

/* Special linear addresses */
#define LINEAR_SPLIT     0x140000000 /* page 0: RAM at SPLIT_LOW; page 1: SPLIT_HIGH; page 2: MMIO_AT */
#define SPLIT_LOW        0x300000
#define SPLIT_HIGH       0x200000
#define LINEAR_READ_ONLY 0x140003000
#define LINEAR_NO_EXECUTE 0x140004000
#define LINEAR_ABSENT    0x140005000
#define SPECIAL_PAGE     0x400000 /* gpa of the read-only and no-execute pages */

#define MMIO_AT  0xd0000000 /* nothing is mapped here */
#define EXTRA_AT 0x2000000  /* tests map things of their own here */

/* How far ahead the timers are set that time is stopped for. */
#define STOPPED_DEADLINE_TSC 500000000
#define STOPPED_COUNT        300000000

/* Ports */
#define PORT_REPORT     0xe0 /* 4 bytes: a value */
#define PORT_DONE       0xe1 /* 1 byte: the end */
#define PORT_UNEXPECTED 0xe2 /* 1 byte: vector of an exception nobody expected */
#define PORT_HYPERCALL  0xe5
#define PORT_SIGNAL     0x1e6 /* HvCallSignalEvent, by the code of the hypercall page */

/* Selectors */
#define SEL_CODE64 0x08
#define SEL_DATA   0x10
#define SEL_CODE32 0x18
#define SEL_TSS    0x20

#endif
