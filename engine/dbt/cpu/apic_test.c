/*
 * apic_test.c - local APICs of four VPs: priorities, messages, timers, state
 *
 * No VP runs: the tests do what their threads would do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "apic_internal.h"
#include "cpu.h"
#include "mmu.h"

#define VPS 4
#define REG_ID 0x20
#define REG_VERSION 0x30
#define REG_TPR 0x80
#define REG_PPR 0xa0
#define REG_EOI 0xb0
#define REG_LDR 0xd0
#define REG_DFR 0xe0
#define REG_SVR 0xf0
#define REG_ISR 0x100
#define REG_IRR 0x200
#define REG_ESR 0x280
#define REG_ICR 0x300
#define REG_ICR2 0x310
#define REG_TIMER 0x320
#define REG_LINT0 0x350
#define REG_ERROR 0x370
#define REG_INITIAL 0x380
#define REG_CURRENT 0x390
#define REG_DIVIDE 0x3e0
#define DIVIDE_BY_1 0xb

struct fixture {
	struct dbt_partition part;
	struct dbt_vp *vp[VPS];
};

static _Atomic unsigned int kicks[VPS];
static unsigned int flushes;

void dbt_kick(struct dbt_vp *vp)
{
	atomic_store(&vp->exit_request, 1);
	atomic_fetch_add(&kicks[vp->vp.index], 1);
}
void mmu_flush_all(struct dbt_vp *vp)
{
	flushes++;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static uint64_t measure_tsc_hz(void)
{
	static uint64_t hz;

	if (!hz) {
		uint64_t tsc = host_rdtsc(), start = now_ns(), ns;

		while ((ns = now_ns() - start) < 20000000)
			;
		hz = (host_rdtsc() - tsc) * 1000 / (ns / 1000) * 1000;
	}
	return hz;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->part.part.vp_count = VPS;
	f->part.physical_bits = 40;
	f->part.tsc_hz = measure_tsc_hz();
	for (unsigned int i = 0; i < VPS; i++) {
		struct dbt_vp *vp = aligned_alloc(64, ALIGN_UP(sizeof(*vp), 64ul));

		memset(vp, 0, sizeof(*vp));
		vp->vp.part = &f->part.part;
		vp->vp.index = i;
		f->vp[i] = vp;
		f->part.part.vps[i] = &vp->vp;
		assert_int_equal(apic_vp_create(vp), 0);
		apic_reset(vp, false);
		apic_mmio_write(vp, REG_SVR, 0x1ff);
		atomic_store(&kicks[i], 0);
	}
	flushes = 0;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	apic_timers_stop(&f->part);
	for (unsigned int i = 0; i < VPS; i++) {
		apic_vp_destroy(f->vp[i]);
		free(f->vp[i]);
	}
	free(f);
	return 0;
}

static void send(struct fixture *f, uint64_t address, uint32_t data)
{
	apic_send_msi(&f->part, &(struct msi){.address = address, .data = data});
}

static void to_x2apic(struct dbt_vp *vp)
{
	assert_int_equal(apic_msr_write(vp, 0x1b, vp->apic_base | APIC_BASE_X2APIC), 0);
}

/* Which VPs have @vector in IRR; takes it out. */
static unsigned int receivers(struct fixture *f, uint8_t vector)
{
	unsigned int set = 0;

	for (unsigned int i = 0; i < VPS; i++) {
		uint32_t old = atomic_fetch_and(&f->vp[i]->apic.irr[vector / 32], ~(1u << vector % 32));

		set |= (old >> vector % 32 & 1) << i;
	}
	return set;
}

/* --- priorities --- */

static void higher_classes_interrupt_lower_ones(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp[1];

	assert_int_equal(apic_pending(vp), -1);
	assert_int_equal(apic_acknowledge(vp), -1);
	send(f, 0xfee01000, 0x45);
	assert_int_equal(vp->irq_pending, 1);
	assert_int_equal(kicks[1], 1);
	send(f, 0xfee01000, 0x51);
	assert_int_equal(apic_acknowledge(vp), 0x51);
	assert_int_equal(apic_mmio_read(vp, REG_PPR), 0x50);
	assert_int_equal(apic_pending(vp), -1);
	send(f, 0xfee01000, 0x5f); /* the same class waits */
	assert_int_equal(apic_pending(vp), -1);
	send(f, 0xfee01000, 0x60);
	assert_int_equal(apic_acknowledge(vp), 0x60);
	vp->irq_pending = vp->exit_request = 0;
	apic_mmio_write(vp, REG_EOI, 0);
	assert_int_equal(vp->irq_pending, 0); /* 0x51 is still being served */
	apic_mmio_write(vp, REG_EOI, 0);
	assert_int_equal(vp->irq_pending, 1);
	assert_int_equal(vp->exit_request, 1);
	assert_int_equal(apic_acknowledge(vp), 0x5f);
	apic_mmio_write(vp, REG_EOI, 0);
	assert_int_equal(apic_acknowledge(vp), 0x45);
	apic_mmio_write(vp, REG_EOI, 0);
	assert_int_equal(apic_mmio_read(vp, REG_PPR), 0);
	assert_int_equal(vp->leave, LEAVE_NONE);
}

static void task_priority_holds_vectors_off(void **state)
{
	static const struct {
		uint32_t tpr;
		int pending;
		uint32_t ppr;
	} cases[] = {{0x00, 0x45, 0x00}, {0x3f, 0x45, 0x3f}, {0x40, -1, 0x40}, {0x4f, -1, 0x4f}, {0xff, -1, 0xff}};
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp[1];

	send(f, 0xfee01000, 0x45);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		apic_mmio_write(vp, REG_TPR, cases[i].tpr);
		assert_int_equal(apic_pending(vp), cases[i].pending);
		assert_int_equal(apic_mmio_read(vp, REG_PPR), cases[i].ppr);
		assert_int_equal(apic_get_tpr(vp), cases[i].tpr >> 4);
	}
	vp->irq_pending = 0;
	apic_set_tpr(vp, 3);
	assert_int_equal(vp->irq_pending, 1);
	assert_int_equal(apic_mmio_read(vp, REG_TPR), 0x30);
}

static void only_level_triggered_vectors_exit_at_eoi(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp[0];

	for (int x2apic = 0; x2apic < 2; x2apic++) {
		if (x2apic)
			to_x2apic(vp);
		for (int level = 0; level < 2; level++) {
			send(f, 0xfee00000, 0x71 | level << 15);
			assert_int_equal(apic_acknowledge(vp), 0x71);
			vp->leave = LEAVE_NONE;
			if (x2apic)
				assert_int_equal(apic_msr_write(vp, 0x80b, 0), 0);
			else
				apic_mmio_write(vp, REG_EOI, 0);
			assert_int_equal(vp->leave, level ? LEAVE_EXIT : LEAVE_NONE);
			if (level) {
				assert_int_equal(vp->exit.reason, VP_EXIT_EOI);
				assert_int_equal(vp->exit.eoi.vector, 0x71);
			}
		}
	}
}

/* --- messages --- */

static void messages_find_their_destinations(void **state)
{
	static const struct {
		const char *name;
		bool x2apic, cluster;
		uint64_t address;
		uint32_t data;
		unsigned int receivers; /* a set */
	} cases[] = {
		{"physical", false, false, 0xfee02000, 0x40, 4},
		{"physical, nobody", false, false, 0xfee09000, 0x40, 0},
		{"physical broadcast", false, false, 0xfeeff000, 0x40, 15},
		{"extended id, nobody", false, false, 0x100fee02000, 0x40, 0},
		{"flat", false, false, 0xfee06004, 0x40, 6},
		{"flat, none", false, false, 0xfeef0004, 0x40, 0},
		{"flat broadcast", false, false, 0xfeeff004, 0x40, 15},
		{"cluster 0", false, true, 0xfee03004, 0x40, 3},
		{"cluster 1", false, true, 0xfee12004, 0x40, 8},
		{"cluster broadcast", false, true, 0xfeeff004, 0x40, 15},
		{"x2apic physical", true, false, 0xfee03000, 0x40, 8},
		{"x2apic logical", true, false, 0xfee05004, 0x40, 5},
		{"lowest of flat", false, false, 0xfee06004, 0x140, 2},
		{"lowest, another vector", false, false, 0xfee06004, 0x141, 4},
		{"lowest, one", false, false, 0xfee08004, 0x141, 8},
		{"not a message", false, false, 0xfec02000, 0x40, 0},
		{"SMI is nothing", false, false, 0xfee02000, 0x240, 0},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		unsigned int set;

		for (unsigned int v = 0; v < VPS; v++) {
			struct dbt_vp *vp = f->vp[v];

			apic_reset(vp, false);
			apic_mmio_write(vp, REG_SVR, 0x1ff);
			if (cases[i].cluster)
				apic_mmio_write(vp, REG_DFR, 0);
			/* flat: one bit each; cluster: 0.1, 0.2, 1.1, 1.2 */
			apic_mmio_write(vp, REG_LDR, (cases[i].cluster ? v / 2 << 4 | 1u << v % 2 : 1u << v) << 24);
			if (cases[i].x2apic)
				to_x2apic(vp);
		}
		send(f, cases[i].address, cases[i].data);
		set = receivers(f, cases[i].data);
		if (set != cases[i].receivers)
			fail_msg("%s: went to %x", cases[i].name, set);
	}
}

static void disabled_apics_take_no_interrupts_but_nmi(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp[2];

	apic_mmio_write(vp, REG_SVR, 0xff);
	send(f, 0xfee02000, 0x40);
	send(f, 0xfee02000, 0x140);
	assert_int_equal(receivers(f, 0x40), 0);
	send(f, 0xfee02000, 0x400);
	assert_int_equal(vp->requests, REQ_NMI);
	vp->requests = 0;
	assert_int_equal(apic_msr_write(vp, 0x1b, 0xfee00000), 0);
	send(f, 0xfee02000, 0x400);
	assert_int_equal(vp->requests, 0);
}

static void interrupt_commands_reach_other_processors(void **state)
{
	static const struct {
		const char *name;
		uint32_t low, destination;
		unsigned int fixed; /* receivers of vector 0x50 */
		unsigned int requested;
		uint32_t request;
	} cases[] = {
		{"fixed", 0x4050, 2, 4, 0, 0},
		{"fixed to oneself", 0x4050, 1, 2, 0, 0},
		{"self", 0x44050, 3, 2, 0, 0},
		{"all", 0x84050, 0, 15, 0, 0},
		{"others", 0xc4050, 0, 13, 0, 0},
		{"lowest of others", 0xc4150, 0, 8, 0, 0}, /* candidates 0, 2, 3; 0x50 % 3 = 2 */
		{"nmi", 0x4400, 3, 0, 8, REQ_NMI},
		{"nmi to others", 0xc4400, 0, 0, 13, REQ_NMI},
		{"nmi to all spares the sender", 0x84400, 0, 0, 13, REQ_NMI},
		{"nmi to self is not allowed", 0x44400, 0, 0, 0, 0},
		{"init", 0xc500, 2, 0, 4, REQ_INIT},
		{"init de-assert", 0x8500, 2, 0, 0, 0},
		{"init without level", 0x4500, 2, 0, 4, REQ_INIT},
		{"sipi", 0x4650, 2, 0, 4, REQ_SIPI},
		{"sipi to others", 0xc4650, 2, 0, 13, REQ_SIPI},
	};
	struct fixture *f = *state;

	for (int x2apic = 0; x2apic < 2; x2apic++) {
		for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
			if (x2apic) {
				uint64_t icr = (uint64_t)cases[i].destination << 32 | cases[i].low;

				assert_int_equal(apic_msr_write(f->vp[1], 0x830, icr), 0);
			} else {
				apic_mmio_write(f->vp[1], REG_ICR2, cases[i].destination << 24);
				apic_mmio_write(f->vp[1], REG_ICR, cases[i].low);
				assert_int_equal(apic_mmio_read(f->vp[1], REG_ICR), cases[i].low);
			}
			for (unsigned int v = 0; v < VPS; v++) {
				uint32_t want = cases[i].requested >> v & 1 ? cases[i].request : 0;

				if (f->vp[v]->requests != want)
					fail_msg("%s: VP %u: requests %x", cases[i].name, v, f->vp[v]->requests);
				if (want == REQ_SIPI)
					assert_int_equal(f->vp[v]->sipi_vector, 0x50);
				f->vp[v]->requests = 0;
			}
			if (receivers(f, 0x50) != cases[i].fixed)
				fail_msg("%s: wrong receivers", cases[i].name);
		}
		for (unsigned int v = 0; v < VPS; v++)
			to_x2apic(f->vp[v]);
	}
	assert_int_equal(apic_msr_write(f->vp[1], 0x83f, 0x50), 0);
	assert_int_equal(receivers(f, 0x50), 2);
	assert_int_equal(apic_msr_write(f->vp[1], 0x830, 0xffffffff00004050), 0);
	assert_int_equal(receivers(f, 0x50), 15);
	assert_int_equal(apic_msr_write(f->vp[1], 0x830, 0x0000000500004850), 0);
	assert_int_equal(receivers(f, 0x50), 5);
}

static int extint_vector;
static unsigned int extint_cycles;

static int acknowledge(void *ctx)
{
	extint_cycles++;
	return extint_vector;
}

static void the_8259_reaches_the_first_processor(void **state)
{
	static const struct {
		uint64_t base;
		uint32_t lint0;
		bool taken;
	} cases[] = {{0xfee00900, 0x700, true}, {0xfee00900, 0x10700, false}, {0xfee00900, 0x30, false},
		     {0xfee00100, 0x10700, true}};
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp[0];

	f->part.acknowledge_extint = acknowledge;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		apic_mmio_write(vp, REG_LINT0, cases[i].lint0);
		apic_msr_write(vp, 0x1b, cases[i].base);
		apic_set_extint(&f->part, true);
		assert_int_equal(vp->irq_pending, 1);
		assert_int_equal(apic_pending(vp), cases[i].taken ? APIC_EXTINT : -1);
		assert_int_equal(apic_pending(f->vp[1]), -1);
		if (cases[i].taken) {
			extint_vector = 0x30 + i;
			vp->leave = LEAVE_NONE;
			assert_int_equal(apic_acknowledge(vp), -1);
			assert_int_equal(vp->leave, LEAVE_HEAVY);
			vp->heavy(vp);
			assert_int_equal(apic_pending(vp), extint_vector);
			apic_set_extint(&f->part, false);
			assert_int_equal(apic_acknowledge(vp), extint_vector);
			assert_int_equal(apic_pending(vp), -1);
		}
		apic_set_extint(&f->part, false);
	}
	assert_int_equal(extint_cycles, 2);
}

/* --- registers --- */

static void registers_have_their_reset_values_and_masks(void **state)
{
	static const struct {
		uint32_t reg, reset, written, read;
	} cases[] = {
		{REG_ID, 3u << 24, 0xffffffff, 3u << 24}, {REG_VERSION, 0x50014, 0, 0x50014},
		{REG_TPR, 0, 0xffffffff, 0xff}, {REG_LDR, 0, 0xffffffff, 0xff000000},
		{REG_DFR, 0xffffffff, 0, 0x0fffffff}, {REG_SVR, 0xff, 0x1ee, 0x1ee},
		{REG_TIMER, 0x10000, 0xffffffff, 0x700ff}, {REG_LINT0, 0x10000, 0xffffffff, 0x1a7ff},
		{REG_ERROR, 0x10000, 0xffffffff, 0x100ff}, {REG_DIVIDE, 0, 0xffffffff, 0xb},
		{REG_ICR2, 0, 0xffffffff, 0xff000000}, {REG_PPR, 0, 0, 0xff},
	};
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp[3];

	apic_reset(vp, true);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(apic_mmio_read(vp, cases[i].reg), cases[i].reset);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		apic_mmio_write(vp, cases[i].reg, cases[i].written);
		assert_int_equal(apic_mmio_read(vp, cases[i].reg), cases[i].read);
	}
	apic_reset(f->vp[0], false);
	assert_int_equal(apic_mmio_read(f->vp[0], REG_LINT0), 0x700);
	assert_int_equal(f->vp[0]->apic_base, 0xfee00900);
	assert_int_equal(vp->apic_base, 0xfee00800);
}

static void software_disable_masks_the_local_vector_table(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp[0];

	apic_mmio_write(vp, REG_TIMER, 0x40);
	apic_mmio_write(vp, REG_SVR, 0xff);
	assert_int_equal(apic_mmio_read(vp, REG_TIMER), 0x10040);
	apic_mmio_write(vp, REG_TIMER, 0x41);
	assert_int_equal(apic_mmio_read(vp, REG_TIMER), 0x10041);
}

static void errors_are_latched_and_raise_the_error_vector(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp[1];

	apic_mmio_write(vp, REG_ERROR, 0xfe);
	apic_mmio_write(vp, REG_ICR, 0x4005);
	assert_int_equal(apic_mmio_read(vp, REG_ESR), 0);
	assert_int_equal(apic_acknowledge(vp), 0xfe);
	apic_mmio_read(vp, 0x40);
	apic_mmio_write(vp, 0xff0, 1);
	send(f, 0xfee01000, 0x0f);
	apic_mmio_write(vp, REG_ESR, 0);
	assert_int_equal(apic_mmio_read(vp, REG_ESR), 0xe0);
	apic_mmio_write(vp, REG_ESR, 0);
	assert_int_equal(apic_mmio_read(vp, REG_ESR), 0);
	for (uint32_t offset = 0; offset < 0x1000; offset++)
		apic_mmio_read(vp, offset);
}

static void x2apic_registers_fault_where_the_manual_says(void **state)
{
	static const struct {
		uint32_t msr;
		int read;
		uint64_t written;
		int write;
	} cases[] = {
		{0x802, 0, 0, -1}, {0x803, 0, 0, -1}, {0x808, 0, 0x20, 0}, {0x808, 0, 0x100, -1},
		{0x809, -1, 0, -1}, {0x80a, 0, 0, -1}, {0x80b, -1, 0, 0}, {0x80b, -1, 1, -1},
		{0x80c, -1, 0, -1}, {0x80d, 0, 0, -1}, {0x80e, -1, 0, -1}, {0x80f, 0, 0x1ff, 0},
		{0x80f, 0, 0x10000, -1}, {0x810, 0, 0, -1}, {0x827, 0, 0, -1}, {0x828, 0, 0, 0},
		{0x828, 0, 1, -1}, {0x82f, -1, 0, -1}, {0x830, 0, 0x100000, -1}, {0x831, -1, 0, -1},
		{0x832, 0, 0x40ff, 0}, {0x832, 0, 0x100000000, -1}, {0x835, 0, 0x700, 0},
		{0x838, 0, 0, 0}, {0x839, 0, 0, -1}, {0x83e, 0, 0xb, 0}, {0x83e, 0, 4, -1},
		{0x83f, -1, 0x100, -1}, {0x840, -1, 0, -1}, {0x8ff, -1, 0, -1},
	};
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp[2];
	uint64_t value;

	assert_int_equal(apic_msr_read(vp, 0x802, &value), -1); /* not in xAPIC mode */
	assert_int_equal(apic_msr_write(vp, 0x808, 0), -1);
	to_x2apic(vp);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (apic_msr_read(vp, cases[i].msr, &value) != cases[i].read)
			fail_msg("read of %x", cases[i].msr);
		if (apic_msr_write(vp, cases[i].msr, cases[i].written) != cases[i].write)
			fail_msg("write of %x", cases[i].msr);
	}
	apic_msr_read(vp, 0x802, &value);
	assert_int_equal(value, 2);
	apic_msr_read(vp, 0x80d, &value);
	assert_int_equal(value, 4);
}

static void the_base_register_moves_between_modes_as_allowed(void **state)
{
	static const struct {
		uint64_t from, to;
		int result;
	} cases[] = {
		{0xfee00800, 0xfee00c00, 0}, {0xfee00c00, 0xfee00800, -1}, {0xfee00c00, 0xfee00000, 0},
		{0xfee00000, 0xfee00c00, -1}, {0xfee00000, 0xfee00800, 0}, {0xfee00000, 0xfee00400, -1},
		{0xfee00800, 0xfee00400, -1}, {0xfee00800, 0xfee00801, -1}, {0xfee00800, 0xfee00a00, -1},
		{0xfee00800, 0xfff00800, 0}, {0xfee00800, 0x10000000800, -1}, {0xfee00800, 0xfee00900, 0},
	};
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp[1];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		vp->apic_base = cases[i].from;
		if (apic_msr_write(vp, 0x1b, cases[i].to) != cases[i].result)
			fail_msg("from %lx to %lx", cases[i].from, cases[i].to);
		/* the bootstrap processor stays the same */
		assert_int_equal(vp->apic_base, (cases[i].result ? cases[i].from : cases[i].to) & ~0x100ull);
	}
	vp->apic_base = 0xfee00800;
	flushes = 0;
	apic_msr_write(vp, 0x1b, 0xfed00800);
	assert_int_equal(flushes, 1);
	assert_true(apic_owns(vp, 0xfed00fff));
	assert_false(apic_owns(vp, 0xfee00000));
	apic_msr_write(vp, 0x1b, 0xfed00c00);
	assert_false(apic_owns(vp, 0xfed00fff));
}

/*
 * --- timers ---
 *
 * The machine may stop any thread at any place for any time, so no test takes a moment for granted:
 * what a timer shows is held against the host's TSC, read before and after. Waiting longer than
 * HANG_NS means that nothing will come; waiting a while for what must not come can only fail rightly.
 */

#define MS 1000000ull
#define HANG_NS (120000 * MS)

static bool wait_irr(struct dbt_vp *vp, uint8_t vector, uint64_t timeout_ns)
{
	uint64_t end = now_ns() + timeout_ns;
	bool last;

	do {
		last = now_ns() >= end;
		if (atomic_load(&vp->apic.irr[vector / 32]) >> vector % 32 & 1)
			return true;
		sched_yield();
	} while (!last);
	return false;
}

static uint64_t ns_to_tsc(struct fixture *f, uint64_t ns)
{
	return (unsigned __int128)ns * f->part.tsc_hz / 1000000000;
}

/* A count and the host's TSC before and after it was written. */
struct countdown {
	uint64_t ns, before, after;
};

static struct countdown start_count(struct dbt_vp *vp, uint32_t count, uint32_t divider)
{
	struct countdown started = {.ns = (uint64_t)count * divider, .before = host_rdtsc()};

	apic_mmio_write(vp, REG_INITIAL, count);
	started.after = host_rdtsc();
	return started;
}

static uint64_t left_ns(struct fixture *f, uint64_t due, uint64_t now)
{
	return due > now ? (unsigned __int128)(due - now) * 1000000000 / f->part.tsc_hz : 0;
}

/* The count of a timer that runs once, divided by one, is what is left now. */
static void assert_counts_down(struct fixture *f, struct dbt_vp *vp, const struct countdown *started)
{
	uint64_t length = ns_to_tsc(f, started->ns), asked = host_rdtsc();
	uint64_t count = apic_mmio_read(vp, REG_CURRENT), answered = host_rdtsc();
	uint64_t least = left_ns(f, started->before + length, answered);

	assert_in_range(count, least - MIN(least, 2ull), left_ns(f, started->after + length, asked));
}

/* Until the timer has expired and whoever saw it has raised what it raises. */
static void finish_timer(struct fixture *f, struct dbt_vp *vp)
{
	uint64_t end = now_ns() + HANG_NS;

	while (atomic_load(&vp->apic.timer_due_tsc) && now_ns() < end)
		sched_yield();
	assert_int_equal(vp->apic.timer_due_tsc, 0);
	apic_timers_stop(&f->part);
}

static void one_shot_timers_fire_once_and_not_early(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp[1];
	struct countdown started;

	assert_int_equal(apic_timers_start(&f->part), 0);
	apic_mmio_write(vp, REG_DIVIDE, DIVIDE_BY_1);
	apic_mmio_write(vp, REG_TIMER, 0x40);
	started = start_count(vp, 20 * MS, 1);
	for (int i = 0; i < 10; i++)
		assert_counts_down(f, vp, &started);
	assert_true(wait_irr(vp, 0x40, HANG_NS));
	assert_true(host_rdtsc() - started.before >= ns_to_tsc(f, started.ns));
	finish_timer(f, vp);
	assert_true(kicks[1] > 0);
	assert_int_equal(apic_mmio_read(vp, REG_CURRENT), 0);
	assert_int_equal(apic_mmio_read(vp, REG_INITIAL), 20 * MS);
	assert_int_equal(apic_acknowledge(vp), 0x40);
	assert_int_equal(apic_timers_start(&f->part), 0);
	assert_false(wait_irr(vp, 0x40, 30 * MS));
}

static void counts_go_down_as_time_goes_by(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp[1];
	struct countdown started;

	apic_mmio_write(vp, REG_DIVIDE, DIVIDE_BY_1);
	apic_mmio_write(vp, REG_TIMER, 0x40);
	started = start_count(vp, 4000 * MS, 1);
	while (host_rdtsc() - started.after < ns_to_tsc(f, 5 * MS))
		assert_counts_down(f, vp, &started);
	assert_in_range(apic_mmio_read(vp, REG_CURRENT), 0, 3995 * MS + 1);
}

static void the_divider_slows_the_count(void **state)
{
	static const uint32_t divide[] = {0, 1, 2, 3, 8, 9, 10, 11}, by[] = {2, 4, 8, 16, 32, 64, 128, 1};
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp[1];

	apic_mmio_write(vp, REG_TIMER, 0x10040);
	for (size_t i = 0; i < ARRAY_SIZE(divide); i++) {
		struct countdown started;
		uint64_t due, length;

		apic_mmio_write(vp, REG_DIVIDE, divide[i]);
		started = start_count(vp, 4000 * MS, by[i]);
		length = ns_to_tsc(f, started.ns);
		due = vp->apic.timer_due_tsc;
		if (due)
			assert_in_range(due, started.before + length - 2, started.after + length + 2);
		else
			assert_true(host_rdtsc() - started.before >= length); /* gone while we slept */
	}
}

static void periodic_timers_go_on(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp[2];
	struct countdown started;

	assert_int_equal(apic_timers_start(&f->part), 0);
	apic_mmio_write(vp, REG_DIVIDE, DIVIDE_BY_1);
	apic_mmio_write(vp, REG_TIMER, 0x20041);
	started = start_count(vp, 2 * MS, 1);
	for (int i = 1; i <= 10; i++) {
		assert_true(wait_irr(vp, 0x41, HANG_NS));
		assert_true(host_rdtsc() - started.before >= i * ns_to_tsc(f, started.ns));
		assert_int_equal(apic_acknowledge(vp), 0x41);
		apic_mmio_write(vp, REG_EOI, 0);
		assert_in_range(apic_mmio_read(vp, REG_CURRENT), 0, 2 * MS);
	}
	apic_mmio_write(vp, REG_INITIAL, 0);
	finish_timer(f, vp); /* a tick may be on its way */
	if (apic_acknowledge(vp) >= 0)
		apic_mmio_write(vp, REG_EOI, 0);
	assert_int_equal(apic_timers_start(&f->part), 0);
	assert_false(wait_irr(vp, 0x41, 10 * MS));
	apic_mmio_write(vp, REG_INITIAL, 1); /* as fast as a guest may ask */
	assert_true(wait_irr(vp, 0x41, HANG_NS));
	assert_true(vp->apic.timer_period_tsc >= f->part.tsc_hz / 10001);
}

static void deadlines_fire_when_the_guests_tsc_is_there(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp[3];
	uint64_t deadline, value;

	assert_int_equal(apic_timers_start(&f->part), 0);
	vp->tsc_offset = -host_rdtsc();
	apic_msr_write(vp, 0x6e0, 1); /* not in this mode */
	apic_msr_read(vp, 0x6e0, &value);
	assert_int_equal(value, 0);
	apic_mmio_write(vp, REG_TIMER, 0x40042);
	deadline = host_rdtsc() + vp->tsc_offset + f->part.tsc_hz * 1000;
	apic_msr_write(vp, 0x6e0, deadline);
	apic_msr_read(vp, 0x6e0, &value);
	assert_int_equal(value, deadline);
	deadline = host_rdtsc() + vp->tsc_offset + f->part.tsc_hz / 100;
	apic_msr_write(vp, 0x6e0, deadline);
	assert_true(wait_irr(vp, 0x42, HANG_NS));
	assert_true(host_rdtsc() + vp->tsc_offset >= deadline);
	apic_msr_read(vp, 0x6e0, &value);
	assert_int_equal(value, 0);
	apic_acknowledge(vp);
	apic_mmio_write(vp, REG_EOI, 0);

	apic_msr_write(vp, 0x6e0, 1); /* long past: at once */
	assert_int_equal(apic_acknowledge(vp), 0x42);
	apic_mmio_write(vp, REG_EOI, 0);
	apic_msr_write(vp, 0x6e0, ~0ull);
	apic_msr_read(vp, 0x6e0, &value);
	assert_int_equal(value, ~0ull);
	assert_false(wait_irr(vp, 0x42, 5 * MS));
	apic_msr_write(vp, 0x6e0, deadline + f->part.tsc_hz * 1000);
	vp->tsc_offset += f->part.tsc_hz * 2000;
	apic_tsc_changed(vp);
	assert_true(wait_irr(vp, 0x42, 0)); /* raised before it returned */
	apic_msr_write(vp, 0x6e0, deadline + f->part.tsc_hz * 100000);
	apic_mmio_write(vp, REG_TIMER, 0x42); /* leaving the mode disarms */
	assert_int_equal(vp->apic.timer_due_tsc, 0);
}

static void masked_timers_are_silent(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp[0];

	assert_int_equal(apic_timers_start(&f->part), 0);
	apic_mmio_write(vp, REG_TIMER, 0x10040);
	apic_mmio_write(vp, REG_INITIAL, MS);
	finish_timer(f, vp);
	assert_false(wait_irr(vp, 0x40, 0));
	assert_int_equal(apic_mmio_read(vp, REG_CURRENT), 0);
}

/* --- state --- */

static void state_survives_a_round_trip(void **state)
{
	struct fixture *f = *state;
	static struct vp_state first, second;

	for (int x2apic = 0; x2apic < 2; x2apic++) {
		struct dbt_vp *vp = f->vp[2], *other = f->vp[3];
		uint32_t id;

		if (x2apic)
			to_x2apic(vp);
		apic_reset(vp, true);
		apic_msr_write(vp, 0x80f, 0x1ff);
		apic_mmio_write(vp, REG_SVR, 0x1ff);
		send(f, 0xfee02000, 0x8061);
		assert_int_equal(apic_acknowledge(vp), 0x61);
		send(f, 0xfee02000, 0x75);
		vp->apic.tpr = 0x20;
		vp->apic.lvt[LVT_LINT1] = 0x400;
		vp->apic.lvt[LVT_TIMER] = 0x40077;
		apic_msr_write(vp, 0x6e0, host_rdtsc() + f->part.tsc_hz * 100);
		apic_get_state(vp, &first);
		memcpy(&id, first.lapic + REG_ID, 4);
		assert_int_equal(id, x2apic ? 2 : 2 << 24);
		assert_int_equal(first.cr8, 2);
		assert_int_not_equal(first.tsc_deadline, 0);
		assert_int_equal(first.lapic[REG_ISR + 0x30] | first.lapic[REG_IRR + 0x32], 0x22);
		assert_int_equal(apic_set_state(other, &first), 0);
		apic_get_state(other, &second);
		memcpy(second.lapic + REG_ID, first.lapic + REG_ID, 4);
		memcpy(second.lapic + REG_LDR, first.lapic + REG_LDR, 4);
		assert_memory_equal(&first, &second, sizeof(first));
		assert_int_equal(apic_acknowledge(other), 0x75);
	}
}

static void a_running_count_goes_on_after_restore(void **state)
{
	struct fixture *f = *state;
	static struct vp_state saved;
	struct dbt_vp *vp = f->vp[0];
	struct countdown resumed = {.ns = 500 * MS};

	apic_mmio_write(vp, REG_DIVIDE, DIVIDE_BY_1);
	apic_mmio_write(vp, REG_TIMER, 0x40);
	apic_mmio_write(vp, REG_INITIAL, 2000 * MS);
	apic_get_state(vp, &saved);
	memcpy(saved.lapic + REG_CURRENT, &(uint32_t){500 * MS}, 4);
	resumed.before = host_rdtsc();
	assert_int_equal(apic_set_state(vp, &saved), 0);
	resumed.after = host_rdtsc();
	assert_counts_down(f, vp, &resumed);
	assert_int_equal(apic_mmio_read(vp, REG_INITIAL), 2000 * MS);
}

static void impossible_states_change_nothing(void **state)
{
	static const struct {
		uint32_t reg, value;
		uint64_t base;
	} cases[] = {
		{REG_TPR, 0x100, 0xfee00800}, {REG_TIMER, 0x80000, 0xfee00800}, {REG_LINT0, 0x800, 0xfee00800},
		{REG_SVR, 0x10000, 0xfee00800}, {REG_DIVIDE, 4, 0xfee00800}, {REG_TPR, 0, 0xfee00400},
		{REG_TPR, 0, 0xfee00801}, {REG_TPR, 0, 0x80000000fee00800},
	};
	struct fixture *f = *state;
	static struct vp_state good, bad, after;

	apic_mmio_write(f->vp[1], REG_TPR, 0x33);
	apic_get_state(f->vp[1], &good);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bad = good;
		memcpy(bad.lapic + REG_TPR, &(uint32_t){0}, 4);
		memcpy(bad.lapic + cases[i].reg, &cases[i].value, 4);
		bad.apic_base = cases[i].base;
		assert_int_equal(apic_set_state(f->vp[1], &bad), -EINVAL);
		apic_get_state(f->vp[1], &after);
		assert_memory_equal(&good, &after, sizeof(good));
	}
	memset(bad.lapic, 0xff, sizeof(bad.lapic));
	assert_int_equal(apic_set_state(f->vp[1], &bad), -EINVAL);
}

/* --- threads --- */

#define SENDERS 3
#define ROUNDS 3000
#define ROUNDS_FOR_NS (5000 * MS) /* or as many as a slow machine does meanwhile */

struct sender {
	struct fixture *fixture;
	uint8_t vector;
	_Atomic unsigned int *taken;
	unsigned int sent; /* an even number: edge and level take turns */
	_Atomic bool done; /* all of it was taken */
};

static void *sender_thread(void *ctx)
{
	struct sender *sender = ctx;
	uint64_t end = now_ns() + ROUNDS_FOR_NS;

	while (sender->sent < ROUNDS && (sender->sent < 2 || sender->sent & 1 || now_ns() < end)) {
		send(sender->fixture, 0xfee01000, sender->vector | (sender->sent & 1) << 15);
		sender->sent++;
		while (atomic_load(sender->taken) < sender->sent)
			sched_yield();
	}
	atomic_store(&sender->done, true);
	return NULL;
}

static bool all_done(struct sender senders[SENDERS])
{
	for (unsigned int i = 0; i < SENDERS; i++)
		if (!atomic_load(&senders[i].done))
			return false;
	return true;
}

static void no_message_of_concurrent_senders_is_lost(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp[1];
	static _Atomic unsigned int taken[256];
	struct sender senders[SENDERS];
	pthread_t threads[SENDERS];
	unsigned int total = 0, exits = 0, sent = 0;
	uint64_t end = now_ns() + HANG_NS;

	for (unsigned int i = 0; i < SENDERS; i++) {
		uint8_t vector = 0x48 + i; /* one word of IRR */

		senders[i] = (struct sender){.fixture = f, .vector = vector, .taken = &taken[vector]};
		pthread_create(&threads[i], NULL, sender_thread, &senders[i]);
	}
	while (!all_done(senders) && now_ns() < end) {
		int vector;

		if (!atomic_exchange(&vp->irq_pending, 0)) {
			sched_yield();
			continue;
		}
		while ((vector = apic_acknowledge(vp)) >= 0) {
			apic_mmio_write(vp, REG_EOI, 0);
			exits += vp->leave == LEAVE_EXIT;
			vp->leave = LEAVE_NONE;
			atomic_fetch_add(&taken[vector], 1);
			total++;
			end = now_ns() + HANG_NS; /* slow is not lost */
		}
	}
	assert_true(all_done(senders)); /* or one waits for what was lost */
	for (unsigned int i = 0; i < SENDERS; i++) {
		pthread_join(threads[i], NULL);
		sent += senders[i].sent;
	}
	assert_true(total > 0);
	assert_int_equal(total, sent);
	assert_int_equal(exits, sent / 2);
}

static void timers_may_be_rearmed_while_they_fire(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp[1];
	uint64_t end = now_ns() + ROUNDS_FOR_NS;

	assert_int_equal(apic_timers_start(&f->part), 0);
	apic_mmio_write(vp, REG_TIMER, 0x40042);
	for (unsigned int i = 0; i < 2000 && (i < 2 || now_ns() < end); i++) {
		uint64_t deadline = host_rdtsc() + f->part.tsc_hz / 20000; /* 50 us */

		apic_msr_write(vp, 0x6e0, deadline + f->part.tsc_hz);
		apic_msr_write(vp, 0x6e0, deadline);
		if (i & 1) {
			while (host_rdtsc() < deadline - f->part.tsc_hz / 1000000)
				;
			apic_msr_write(vp, 0x6e0, deadline + f->part.tsc_hz / 100000);
		}
		assert_true(wait_irr(vp, 0x42, HANG_NS));
		apic_acknowledge(vp);
		apic_mmio_write(vp, REG_EOI, 0);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(higher_classes_interrupt_lower_ones),
		TEST(task_priority_holds_vectors_off),
		TEST(only_level_triggered_vectors_exit_at_eoi),
		TEST(messages_find_their_destinations),
		TEST(disabled_apics_take_no_interrupts_but_nmi),
		TEST(interrupt_commands_reach_other_processors),
		TEST(the_8259_reaches_the_first_processor),
		TEST(registers_have_their_reset_values_and_masks),
		TEST(software_disable_masks_the_local_vector_table),
		TEST(errors_are_latched_and_raise_the_error_vector),
		TEST(x2apic_registers_fault_where_the_manual_says),
		TEST(the_base_register_moves_between_modes_as_allowed),
		TEST(one_shot_timers_fire_once_and_not_early),
		TEST(counts_go_down_as_time_goes_by),
		TEST(the_divider_slows_the_count),
		TEST(periodic_timers_go_on),
		TEST(deadlines_fire_when_the_guests_tsc_is_there),
		TEST(masked_timers_are_silent),
		TEST(state_survives_a_round_trip),
		TEST(a_running_count_goes_on_after_restore),
		TEST(impossible_states_change_nothing),
		TEST(no_message_of_concurrent_senders_is_lost),
		TEST(timers_may_be_rearmed_while_they_fire),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
