/*
 * mmu_test.c - walks, TLBs, flushes and slow accesses on a partition of plain memory
 *
 * The guest's memory is three slots whose host addresses are not contiguous:
 *   0 .. 16M      RAM with page tables from 1M on
 *   32M .. 33M    RAM with a dirty log
 *   48M .. 49M    ROM
 * and nothing elsewhere. The APIC page is a stub at 0xfee00000.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "apic.h"
#include "mmu_internal.h"
#include "stats.h"

#define RAM_BYTES (16 * MIB)
#define LOGGED_GPA (32 * MIB)
#define ROM_GPA (48 * MIB)
#define TABLES 0x100000ull
#define APIC_GPA 0xfee00000ull

#define P 1ull
#define W 2ull
#define U 4ull
#define A 0x20ull
#define D 0x40ull
#define PS 0x80ull
#define G 0x100ull
#define NX BIT(63)

/* --- stand-ins --- */

static bool code_hit;
static unsigned int code_hits;
static uint32_t apic_written, apic_written_offset;
static bool apic_exits;

bool code_write_hook(struct dbt_vp *vp, gpa_t gpa, uint32_t bytes)
{
	code_hits++;
	return code_hit;
}
bool apic_owns(const struct dbt_vp *vp, gpa_t gpa)
{
	return (gpa ^ APIC_GPA) >> 12 == 0;
}
uint32_t apic_mmio_read(struct dbt_vp *vp, uint32_t offset)
{
	return 0xa0000000 | offset;
}
void apic_mmio_write(struct dbt_vp *vp, uint32_t offset, uint32_t value)
{
	apic_written = value;
	apic_written_offset = offset;
	if (apic_exits) {
		vp->exit.reason = VP_EXIT_EOI;
		vp->leave = LEAVE_EXIT;
	}
}

/* --- fixture --- */

struct fixture {
	struct dbt_partition part;
	struct dbt_vp *vp;
	uint8_t *ram, *logged, *rom;
	uint64_t next_table;
};

static uint8_t *add_slot(struct dbt_partition *part, gpa_t gpa, uint64_t bytes, unsigned int access)
{
	struct memory_slot *slot = &part->slots[part->slot_count++];

	slot->gpa = gpa;
	slot->bytes = bytes;
	slot->access = access;
	slot->hva = aligned_alloc(4096, bytes + 4096); /* the rest keeps slots apart */
	slot->page_flags = calloc(bytes / 4096, 1);
	assert_non_null(slot->hva);
	memset(slot->hva, 0, bytes);
	return slot->hva;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->ram = add_slot(&f->part, 0, RAM_BYTES, MAP_GPA_READ | MAP_GPA_WRITE | MAP_GPA_EXECUTE);
	f->logged = add_slot(&f->part, LOGGED_GPA, MIB, MAP_GPA_READ | MAP_GPA_WRITE | MAP_GPA_DIRTY);
	f->rom = add_slot(&f->part, ROM_GPA, MIB, MAP_GPA_READ | MAP_GPA_EXECUTE);
	f->part.physical_bits = 40;
	f->part.has_1g_pages = true;
	f->vp = aligned_alloc(64, ALIGN_UP(sizeof(*f->vp), 64ul));
	memset(f->vp, 0, sizeof(*f->vp));
	f->vp->vp.part = &f->part.part;
	f->vp->exception.vector = VEC_NONE;
	assert_int_equal(mmu_vp_create(f->vp), 0);
	f->next_table = TABLES;
	code_hit = apic_exits = false;
	code_hits = apic_written = 0;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	mmu_vp_destroy(f->vp);
	for (unsigned int i = 0; i < f->part.slot_count; i++) {
		free(f->part.slots[i].hva);
		free((void *)f->part.slots[i].page_flags);
	}
	free(f->vp);
	free(f);
	return 0;
}

static uint64_t new_table(struct fixture *f)
{
	f->next_table += 4096;
	return f->next_table - 4096;
}

static uint64_t entry_value(struct fixture *f, gpa_t at, unsigned int bytes)
{
	uint64_t value = 0;

	memcpy(&value, f->ram + at, bytes);
	return value;
}

enum format { NONE, LEGACY, PAE, LONG };
static const struct {
	unsigned int levels, bits, bytes;
	uint64_t cr4, efer;
} formats[] = {
	[LEGACY] = {2, 10, 4, CR4_PSE, 0},
	[PAE] = {3, 9, 8, CR4_PAE, 0},
	[LONG] = {4, 9, 8, CR4_PAE, EFER_LMA | BIT(8)},
};

static void use_format(struct fixture *f, enum format format, uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	struct dbt_vp *vp = f->vp;

	vp->cr0 = cr0 | 1 | (format ? CR0_PG : 0);
	vp->cr4 = cr4 | formats[format].cr4;
	vp->efer = efer | formats[format].efer;
	vp->cr3 = format ? new_table(f) : 0;
	mmu_flush_all(vp);
}

/*
 * Maps the page of @va at @level; @upper are the bits of entries above. Returns the leaf's gpa;
 * @ret_above, if given, is the gpa of the entry above it.
 */
static gpa_t map_page(struct fixture *f, enum format format, uint64_t va, unsigned int level,
		      uint64_t leaf, uint64_t upper, gpa_t *ret_above)
{
	gpa_t table = f->vp->cr3 & ~0xfffull;

	for (unsigned int l = formats[format].levels;; l--) {
		uint64_t index = va >> (12 + formats[format].bits * (l - 1));
		gpa_t at = table + (index & (BIT(formats[format].bits) - 1)) * formats[format].bytes;
		uint64_t value = entry_value(f, at, formats[format].bytes);

		if (l == level) {
			memcpy(f->ram + at, &leaf, formats[format].bytes);
			return at;
		}
		if (!(value & P)) {
			bool pdpte = format == PAE && l == 3;

			value = new_table(f) | (pdpte ? P : upper);
			memcpy(f->ram + at, &value, formats[format].bytes);
		}
		if (ret_above)
			*ret_above = at;
		table = value & 0xfffff000; /* without the bits that cases add */
	}
}

static void map_long(struct fixture *f, uint64_t va, uint64_t leaf)
{
	map_page(f, LONG, va, 1, leaf, P | W | U, NULL);
}

/* What translated code does: NULL is a miss. */
static void *inline_check(struct dbt_vp *vp, unsigned int table, uint64_t va, unsigned int size, bool write)
{
	struct tlb_entry *entry = &vp->tlb[table][va >> 12 & (TLB_ENTRIES - 1)];
	uint64_t offset = va ^ (write ? entry->write_tag : entry->read_tag);

	return offset <= 4096 - size ? (void *)(uintptr_t)(offset + entry->host) : NULL;
}

/* --- walks --- */

struct walk_case {
	const char *name;
	enum format format;
	unsigned int level;
	uint64_t leaf, upper; /* leaf: flags, added to the page at 4M */
	uint64_t cr0, cr4, efer;
	unsigned int cpl;
	bool ac;
	uint32_t access;
	int error;      /* -1: no fault */
	uint64_t leaf_after; /* A and D */
};

#define R ACCESS_READ
#define WR ACCESS_WRITE
#define RW (ACCESS_READ | ACCESS_WRITE)
#define X ACCESS_EXECUTE

static const struct walk_case walk_cases[] = {
	{"4K read", LONG, 1, P | W | U, P | W | U, 0, 0, 0, 3, 0, R, -1, A},
	{"4K write", LONG, 1, P | W | U, P | W | U, 0, 0, 0, 3, 0, WR, -1, A | D},
	{"4K rmw", LONG, 1, P | W | U, P | W | U, 0, 0, 0, 3, 0, RW, -1, A | D},
	{"2M read", LONG, 2, P | W | U | PS, P | W | U, 0, 0, 0, 3, 0, R, -1, A},
	{"2M write", LONG, 2, P | W | U | PS, P | W | U, 0, 0, 0, 3, 0, WR, -1, A | D},
	{"1G write", LONG, 3, P | W | U | PS, P | W | U, 0, 0, 0, 3, 0, WR, -1, A | D},
	{"not present, user read", LONG, 1, W | U, P | W | U, 0, 0, 0, 3, 0, R, 4, 0},
	{"not present, user write", LONG, 1, W | U, P | W | U, 0, 0, 0, 3, 0, RW, 6, 0},
	{"not present, kernel read", LONG, 1, 0, P | W | U, 0, 0, 0, 0, 0, R, 0, 0},
	{"upper not present", LONG, 1, P | W | U, W | U, 0, 0, 0, 3, 0, R, 4, 0},
	{"user at supervisor page", LONG, 1, P | W, P | W | U, 0, 0, 0, 3, 0, R, 5, 0},
	{"user at supervisor table", LONG, 1, P | W | U, P | W, 0, 0, 0, 3, 0, R, 5, 0},
	{"user write, read-only", LONG, 1, P | U, P | W | U, 0, 0, 0, 3, 0, WR, 7, 0},
	{"user write, read-only table", LONG, 1, P | W | U, P | U, 0, 0, 0, 3, 0, WR, 7, 0},
	{"kernel write, read-only, no WP", LONG, 1, P, P | W | U, 0, 0, 0, 0, 0, WR, -1, A | D},
	{"kernel write, read-only, WP", LONG, 1, P, P | W | U, CR0_WP, 0, 0, 0, 0, WR, 3, 0},
	{"fetch, NX off is reserved", LONG, 1, P | NX, P | W | U, 0, 0, 0, 0, 0, R, 9, 0},
	{"read of NX page", LONG, 1, P | NX, P | W | U, 0, 0, EFER_NXE, 0, 0, R, -1, A},
	{"fetch of NX page", LONG, 1, P | NX, P | W | U, 0, 0, EFER_NXE, 0, 0, X, 0x11, 0},
	{"fetch under NX table", LONG, 1, P | U, P | W | U | NX, 0, 0, EFER_NXE, 3, 0, X, 0x15, 0},
	{"fetch, not present, no NXE", LONG, 1, 0, P | W | U, 0, 0, 0, 0, 0, X, 0, 0},
	{"fetch, not present, SMEP", LONG, 1, 0, P | W | U, 0, CR4_SMEP, 0, 0, 0, X, 0x10, 0},
	{"SMEP", LONG, 1, P | U, P | W | U, 0, CR4_SMEP, 0, 0, 0, X, 0x11, 0},
	{"SMEP, supervisor page", LONG, 1, P, P | W | U, 0, CR4_SMEP, 0, 0, 0, X, -1, A},
	{"SMEP does not bind users", LONG, 1, P | U, P | W | U, 0, CR4_SMEP, 0, 3, 0, X, -1, A},
	{"SMAP", LONG, 1, P | W | U, P | W | U, 0, CR4_SMAP, 0, 0, 0, R, 1, 0},
	{"SMAP write", LONG, 1, P | W | U, P | W | U, 0, CR4_SMAP, 0, 0, 0, WR, 3, 0},
	{"SMAP with AC", LONG, 1, P | W | U, P | W | U, 0, CR4_SMAP, 0, 0, 1, WR, -1, A | D},
	{"SMAP, implicit, AC does not help", LONG, 1, P | W | U, P | W | U, 0, CR4_SMAP, 0, 0, 1,
	 R | ACCESS_SUPERVISOR, 1, 0},
	{"SMAP, fetch is SMEP's", LONG, 1, P | U, P | W | U, 0, CR4_SMAP, 0, 0, 0, X, -1, A},
	{"implicit access at CPL 3", LONG, 1, P | W, P | W, 0, 0, 0, 3, 0, R | ACCESS_SUPERVISOR, -1, A},
	{"implicit access, not present", LONG, 1, 0, P | W, 0, 0, 0, 3, 0, R | ACCESS_SUPERVISOR, 0, 0},
	{"as user at CPL 0", LONG, 1, P | W, P | W, 0, 0, 0, 0, 0, R | ACCESS_USER, 5, 0},
	{"reserved address bit", LONG, 1, P | U | BIT(40), P | W | U, 0, 0, 0, 3, 0, R, 0xd, 0},
	{"ignored bit above the address", LONG, 1, P | U | BIT(52), P | W | U, 0, 0, 0, 3, 0, R, -1, A},
	{"reserved bit above", LONG, 1, P | U, P | W | U | BIT(41), 0, 0, 0, 3, 0, R, 0xd, 0},
	{"misaligned 2M", LONG, 2, P | U | PS | BIT(13), P | W | U, 0, 0, 0, 3, 0, R, 0xd, 0},
	{"misaligned 1G", LONG, 3, P | U | PS | BIT(29), P | W | U, 0, 0, 0, 3, 0, R, 0xd, 0},
	{"2M with PAT", LONG, 2, P | U | PS | BIT(12), P | W | U, 0, 0, 0, 3, 0, R, -1, A},
	{"PS in the top level", LONG, 4, P | U | PS, 0, 0, 0, 0, 3, 0, R, 0xd, 0},
	{"write of reserved", LONG, 1, P | U | BIT(45), P | W | U, 0, 0, 0, 3, 0, WR, 0xf, 0},

	{"PAE read", PAE, 1, P | U, P | W | U, 0, 0, 0, 3, 0, R, -1, A},
	{"PAE write", PAE, 1, P | W | U, P | W | U, 0, 0, 0, 3, 0, WR, -1, A | D},
	{"PAE 2M write", PAE, 2, P | W | U | PS, 0, 0, 0, 0, 3, 0, WR, -1, A | D},
	{"PAE not present", PAE, 1, 0, P | W | U, 0, 0, 0, 3, 0, R, 4, 0},
	{"PAE reserved high bit", PAE, 1, P | U | BIT(55), P | W | U, 0, 0, 0, 3, 0, R, 0xd, 0},
	{"PAE NX", PAE, 1, P | U | NX, P | W | U, 0, 0, EFER_NXE, 3, 0, X, 0x15, 0},
	{"PAE NX without NXE", PAE, 1, P | U | NX, P | W | U, 0, 0, 0, 3, 0, R, 0xd, 0},
	{"PAE fetch without NXE", PAE, 1, 0, P | W | U, 0, 0, 0, 3, 0, X, 4, 0},
	{"PAE top level not present", PAE, 3, 0, 0, 0, 0, 0, 3, 0, R, 4, 0},
	{"PAE top level reserved", PAE, 3, P | W, 0, 0, 0, 0, 3, 0, R, 0xd, 0},

	{"32-bit read", LEGACY, 1, P | U, P | W | U, 0, 0, 0, 3, 0, R, -1, A},
	{"32-bit write", LEGACY, 1, P | W | U, P | W | U, 0, 0, 0, 3, 0, WR, -1, A | D},
	{"32-bit user at supervisor", LEGACY, 1, P | W, P | W | U, 0, 0, 0, 3, 0, WR, 7, 0},
	{"32-bit WP", LEGACY, 1, P | U, P | W | U, CR0_WP, 0, 0, 0, 0, WR, 3, 0},
	{"32-bit fetch has no I/D", LEGACY, 1, 0, P | W | U, 0, 0, EFER_NXE, 0, 0, X, 0, 0},
	{"4M write", LEGACY, 2, P | W | U | PS, 0, 0, 0, 0, 3, 0, WR, -1, A | D},
	{"4M reserved", LEGACY, 2, P | W | U | PS | BIT(21), 0, 0, 0, 0, 3, 0, R, 0xd, 0},
};

#define CASE_PAGE 0x400000ull

static void run_walk_case(struct fixture *f, const struct walk_case *c)
{
	const uint64_t va = c->format == LONG ? 0x7f0000567123 : 0x87654123;
	struct dbt_vp *vp = f->vp;
	gpa_t leaf_gpa, above = 0;
	uint64_t leaf = c->leaf, flags;
	uint8_t buffer[4];
	const uint8_t *host;
	gpa_t gpa;
	int r;

	f->next_table = TABLES;
	memset(f->ram + TABLES, 0, 16 * 4096);
	use_format(f, c->format, c->cr0, c->cr4, c->efer);
	vp->cpl = c->cpl;
	vp->flag_ac = c->ac;
	vp->exception.vector = VEC_NONE;
	leaf |= c->level == 3 || c->level == 4 ? 0 : CASE_PAGE;
	leaf_gpa = map_page(f, c->format, va, c->level, leaf, c->upper, &above);
	if (c->access & X)
		r = mmu_fetch_page(vp, va, &gpa, &host);
	else if (c->access & WR)
		r = c->access & ~RW ? mmu_write(vp, va, "abcd", 4, c->access) :
				      -(mmu_access(vp, va, 4, c->access) == NULL);
	else
		r = mmu_read(vp, va, buffer, 4, c->access);
	if (r != (c->error < 0 ? 0 : -1) || vp->exception.vector != (c->error < 0 ? VEC_NONE : VEC_PF))
		fail_msg("%s: returned %d, vector %u", c->name, r, vp->exception.vector);
	if (c->error >= 0 && (vp->exception.error != c->error || vp->exception.cr2 != va))
		fail_msg("%s: error code %x, cr2 %lx", c->name, vp->exception.error, vp->exception.cr2);
	flags = entry_value(f, leaf_gpa, formats[c->format].bytes) ^ leaf;
	if (flags != c->leaf_after)
		fail_msg("%s: leaf changed by %lx", c->name, flags);
	if (above && !(c->format == PAE && c->level == 2)) {
		flags = entry_value(f, above, formats[c->format].bytes) & (A | D);
		if (flags != (c->error < 0 ? A : 0))
			fail_msg("%s: entry above has A, D %lx", c->name, flags);
	}
}

static void walks_check_permissions_and_set_accessed_and_dirty_exactly(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(walk_cases); i++)
		run_walk_case(*state, &walk_cases[i]);
}

static void every_page_size_leads_to_the_right_address(void **state)
{
	static const struct {
		enum format format;
		unsigned int level;
		uint64_t va, leaf, gpa;
	} cases[] = {
		{LONG, 1, 0xffff800012345678, 0x234000, 0x234678},
		{LONG, 2, 0xffff800012345678, 0x200000 | PS, 0x200000 + 0x145678},
		{LONG, 3, 0x40123456, 0 | PS, 0x123456},
		{PAE, 1, 0xc0123456, 0x345000, 0x345456},
		{PAE, 2, 0xc0123456, 0x800000 | PS, 0x923456},
		{LEGACY, 1, 0xc0123456, 0x345000, 0x345456},
		{LEGACY, 2, 0xc0123456, 0x800000 | PS, 0x923456},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		f->next_table = TABLES;
		memset(f->ram + TABLES, 0, 16 * 4096);
		use_format(f, cases[i].format, 0, 0, 0);
		map_page(f, cases[i].format, cases[i].va, cases[i].level, cases[i].leaf | P | W, P | W, NULL);
		assert_ptr_equal(mmu_access(f->vp, cases[i].va, 4, R), f->ram + cases[i].gpa);
	}
	use_format(f, NONE, 0, 0, 0);
	assert_ptr_equal(mmu_access(f->vp, 0x1234, 4, RW), f->ram + 0x1234);
	use_format(f, LEGACY, 0, 0, 0); /* PSE-36: address bit 32 in bit 13 of the entry */
	map_page(f, LEGACY, 0, 2, P | W | PS | BIT(13), 0, NULL);
	f->vp->stepping = 1;
	assert_null(mmu_access(f->vp, 0x5678, 4, R));
	assert_int_equal(f->vp->exit.mmio.gpa, 0x100005678);
}

static void addresses_that_are_not_canonical_fault(void **state)
{
	static const struct {
		uint64_t va;
		uint32_t bytes;
	} cases[] = {{0x800000000000, 1}, {0xffff7fffffffffff, 1}, {0x7fffffffffff, 2},
		     {0x0001000000000000, 8}};
	struct fixture *f = *state;

	use_format(f, LONG, 0, 0, 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		for (uint32_t access = R; access <= RW; access++) {
			f->vp->exception.vector = VEC_NONE;
			assert_null(mmu_access(f->vp, cases[i].va, cases[i].bytes, access));
			assert_int_equal(f->vp->exception.vector, VEC_GP);
			assert_int_equal(f->vp->exception.error, 0);
		}
	}
}

static void tables_outside_memory_read_as_all_ones(void **state)
{
	struct fixture *f = *state;

	use_format(f, LONG, 0, 0, 0);
	f->vp->cr3 = 0x8000000000;
	mmu_flush_all(f->vp);
	assert_null(mmu_access(f->vp, 0x1000, 4, WR));
	assert_int_equal(f->vp->exception.vector, VEC_PF);
	assert_int_equal(f->vp->exception.error, 0xb);
	f->vp->cr3 = ROM_GPA; /* readable, but A cannot be set */
	memcpy(f->rom, &(uint64_t){ROM_GPA | P | W}, 8);
	mmu_flush_all(f->vp);
	assert_ptr_equal(mmu_access(f->vp, 8, 4, R), f->rom + 8);
	assert_int_equal(f->rom[0], P | W);
}

/* --- the inline TLB --- */

static void dirty_and_permissions_decide_the_write_tag(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp;
	const uint64_t va = 0xffff888000001000;

	use_format(f, LONG, CR0_WP, CR4_SMAP, 0);
	map_long(f, va, 0x5000 | P | W);
	map_long(f, va + 0x1000, 0x6000 | P);
	map_long(f, 0x3000, 0x7000 | P | W | U);
	assert_null(inline_check(vp, TLB_KERNEL, va, 8, false));
	assert_ptr_equal(mmu_access(vp, va + 8, 8, R), f->ram + 0x5008);
	assert_ptr_equal(inline_check(vp, TLB_KERNEL, va + 0xff8, 8, false), f->ram + 0x5ff8);
	assert_null(inline_check(vp, TLB_KERNEL, va + 0xff9, 8, false));
	assert_null(inline_check(vp, TLB_KERNEL, va, 8, true)); /* D is not set yet */
	assert_null(inline_check(vp, TLB_USER, va, 8, false));
	mmu_access(vp, va, 8, WR);
	assert_ptr_equal(inline_check(vp, TLB_KERNEL, va, 8, true), f->ram + 0x5000);
	mmu_access(vp, va + 0x1000, 8, R);
	assert_null(mmu_access(vp, va + 0x1000, 8, WR));
	assert_null(inline_check(vp, TLB_KERNEL, va + 0x1000, 8, true));

	vp->flag_ac = 1;
	assert_non_null(mmu_access(vp, 0x3000, 8, RW));
	assert_non_null(inline_check(vp, TLB_KERNEL_AC, 0x3000, 8, true));
	assert_null(inline_check(vp, TLB_KERNEL, 0x3000, 8, false));
	vp->flag_ac = 0;
	vp->cpl = 3;
	assert_non_null(mmu_access(vp, 0x3000, 8, R)); /* D is known: writes are open at once */
	assert_non_null(inline_check(vp, TLB_USER, 0x3000, 8, true));
}

static void the_second_level_saves_walks_for_all_modes(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp;

	use_format(f, LONG, 0, 0, 0);
	map_long(f, 0x3000, 0x7000 | P | W | U);
	mmu_access(vp, 0x3000, 8, WR);
	vp->cpl = 3;
	mmu_access(vp, 0x3000, 8, WR);
	mmu_read(vp, 0x3000, (uint8_t[8]){0}, 8, ACCESS_SUPERVISOR);
	assert_int_equal(vp->stats[STAT_PAGE_WALKS], 1);
}

/* --- flushes --- */

enum flush { CR3_PLAIN, CR3_KEEP, FLUSH_ALL, NON_GLOBAL, INVLPG, PCID_OTHER, PCID_THIS, PCID_PAGE };

static void do_flush(struct dbt_vp *vp, enum flush flush, uint64_t va)
{
	switch (flush) {
	case CR3_PLAIN: mmu_switch_cr3(vp, false); return;
	case CR3_KEEP: mmu_switch_cr3(vp, true); return;
	case FLUSH_ALL: mmu_flush_all(vp); return;
	case NON_GLOBAL: mmu_flush_non_global(vp); return;
	case INVLPG: mmu_flush_page(vp, va); return;
	case PCID_OTHER: mmu_flush_pcid(vp, 77, false, 0); return;
	case PCID_THIS: mmu_flush_pcid(vp, vp->cr3 & 0xfff, false, 0); return;
	case PCID_PAGE: mmu_flush_pcid(vp, vp->cr3 & 0xfff, true, va); return;
	}
}

static void flushes_drop_what_they_must_and_keep_what_they_may(void **state)
{
	/* Does the old translation still hold afterwards? PGE is on. */
	static const struct {
		const char *name;
		enum flush flush;
		bool pcid, global, other_page;
		bool stays, stays_inline;
	} cases[] = {
		{"cr3", CR3_PLAIN, false, false, false, false, false},
		{"cr3, global", CR3_PLAIN, false, true, false, true, true},
		{"cr3 keep without PCID", CR3_KEEP, false, false, false, false, false},
		{"cr3, PCID", CR3_PLAIN, true, false, false, false, false},
		{"cr3, PCID, global", CR3_PLAIN, true, true, false, true, true},
		{"cr3 keep, PCID", CR3_KEEP, true, false, false, true, false},
		{"all", FLUSH_ALL, true, false, false, false, false},
		{"all, global", FLUSH_ALL, true, true, false, false, false},
		{"non-global", NON_GLOBAL, true, false, false, false, false},
		{"non-global, global", NON_GLOBAL, true, true, false, true, true},
		{"invlpg", INVLPG, true, false, false, false, false},
		{"invlpg, global", INVLPG, false, true, false, false, false},
		{"invlpg of another", INVLPG, true, false, true, true, true},
		{"another pcid", PCID_OTHER, true, false, false, true, true},
		{"this pcid", PCID_THIS, true, false, false, false, false},
		{"this pcid, global", PCID_THIS, true, true, false, true, true},
		{"pcid page", PCID_PAGE, true, false, false, false, false},
		{"pcid other page", PCID_PAGE, true, false, true, true, true},
	};
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp;
	const uint64_t va = 0xffffffff81000000;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t flags = P | W | (cases[i].global ? G : 0);
		uint8_t *want;

		f->next_table = TABLES;
		memset(f->ram + TABLES, 0, 16 * 4096);
		use_format(f, LONG, 0, CR4_PGE | (cases[i].pcid ? CR4_PCIDE : 0), 0);
		vp->cr3 |= cases[i].pcid ? 5 : 0;
		mmu_switch_cr3(vp, false);
		map_long(f, va, 0x5000 | flags);
		assert_ptr_equal(mmu_access(vp, va, 1, RW), f->ram + 0x5000);
		map_long(f, va, 0x6000 | flags);
		do_flush(vp, cases[i].flush, cases[i].other_page ? va + 0x1000 : va);
		if ((inline_check(vp, TLB_KERNEL, va, 1, false) != NULL) != cases[i].stays_inline)
			fail_msg("%s: inline TLB", cases[i].name);
		want = f->ram + (cases[i].stays ? 0x5000 : 0x6000);
		if (mmu_access(vp, va, 1, R) != want)
			fail_msg("%s: second level", cases[i].name);
	}
}

static void entries_that_changed_between_global_and_not_are_flushed_as_what_they_are(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp;
	const uint64_t global = 0x3000, local = global + TLB_ENTRIES * PAGE_BYTES; /* one index */

	for (int first_global = 0; first_global < 2; first_global++) {
		use_format(f, LONG, 0, CR4_PGE, 0);
		map_long(f, global, 0x5000 | P | G);
		map_long(f, local, 0x6000 | P);
		mmu_access(vp, first_global ? global : local, 1, R);
		mmu_access(vp, first_global ? local : global, 1, R);
		mmu_switch_cr3(vp, false);
		assert_null(inline_check(vp, TLB_KERNEL, local, 1, false));
		assert_int_equal(inline_check(vp, TLB_KERNEL, global, 1, false) != NULL, !first_global);
	}
}

static void address_spaces_with_pcids_do_not_mix(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp;
	uint64_t root[2];

	use_format(f, LONG, 0, CR4_PCIDE, 0);
	for (int i = 0; i < 2; i++) {
		vp->cr3 = root[i] = (i ? new_table(f) : vp->cr3) | (i + 1);
		mmu_switch_cr3(vp, false);
		map_long(f, 0x3000, (0x5000 + i * 0x1000) | P | W);
		assert_ptr_equal(mmu_access(vp, 0x3000, 1, R), f->ram + 0x5000 + i * 0x1000);
	}
	for (int round = 0; round < 10; round++) {
		vp->cr3 = root[round & 1];
		mmu_switch_cr3(vp, true);
		assert_ptr_equal(mmu_access(vp, 0x3000, 1, R), f->ram + 0x5000 + (round & 1) * 0x1000);
	}
	assert_int_equal(vp->stats[STAT_PAGE_WALKS], 2);
	mmu_flush_pcid(vp, 1, true, 0x3000); /* not the current one */
	vp->cr3 = root[0];
	mmu_switch_cr3(vp, true);
	mmu_access(vp, 0x3000, 1, R);
	assert_int_equal(vp->stats[STAT_PAGE_WALKS], 3);
}

static void running_out_of_address_space_numbers_brings_nothing_back(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp;

	use_format(f, LONG, 0, CR4_PGE, 0);
	for (unsigned int i = 0; i < 3 * 4096; i++) {
		uint64_t page = 0x200000 + (i & 1023) * 0x1000;

		map_long(f, 0x3000, page | P | W);
		map_long(f, 0x4000, page | P | W | G);
		if (i < 4096 && i % 700 == 0)
			mmu_flush_all(vp);
		else
			mmu_switch_cr3(vp, false);
		assert_ptr_equal(mmu_access(vp, 0x3000, 1, R), f->ram + page);
		mmu_access(vp, 0x4000, 1, R);
	}
}

static void invlpg_of_a_large_page_drops_all_of_its_pieces(void **state)
{
	static const struct {
		enum format format;
		unsigned int level;
		uint64_t va, bytes;
	} cases[] = {{LONG, 2, 0xffffffff80200000, 2 * MIB}, {LONG, 3, 0x40000000, 8 * MIB},
		     {LEGACY, 2, 0xc0400000, 4 * MIB}};
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t va = cases[i].va, last = va + cases[i].bytes - 4096;

		f->next_table = TABLES;
		memset(f->ram + TABLES, 0, 16 * 4096);
		use_format(f, cases[i].format, 0, CR4_PGE, 0);
		map_page(f, cases[i].format, va, cases[i].level, P | W | PS | G, P | W, NULL);
		assert_ptr_equal(mmu_access(vp, va, 1, R), f->ram);
		map_page(f, cases[i].format, va, cases[i].level, 0, P | W, NULL);
		mmu_flush_page(vp, last);
		assert_null(inline_check(vp, TLB_KERNEL, va, 1, false));
		assert_null(mmu_access(vp, va, 1, R));
	}
}

static void changed_control_bits_flush(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp;

	use_format(f, LONG, 0, CR4_PGE, 0);
	map_long(f, 0x3000, 0x5000 | P | U | G | D);
	assert_non_null(mmu_access(vp, 0x3000, 1, WR));
	vp->cr0 |= CR0_WP;
	mmu_mode_changed(vp, vp->cr0 & ~CR0_WP, vp->cr4, vp->efer);
	assert_null(inline_check(vp, TLB_KERNEL, 0x3000, 1, true));
	assert_null(mmu_access(vp, 0x3000, 1, WR));
	assert_non_null(mmu_access(vp, 0x3000, 1, R));
	vp->cr4 |= CR4_SMAP;
	mmu_mode_changed(vp, vp->cr0, vp->cr4 & ~CR4_SMAP, vp->efer);
	assert_null(mmu_access(vp, 0x3000, 1, R));
	vp->cr0 &= ~CR0_PG;
	mmu_mode_changed(vp, vp->cr0 | CR0_PG, vp->cr4, vp->efer);
	vp->efer &= ~EFER_LMA;
	mmu_mode_changed(vp, vp->cr0, vp->cr4, vp->efer | EFER_LMA);
	assert_ptr_equal(mmu_access(vp, 0x3000, 1, R), f->ram + 0x3000);
}

static struct jump_cache_entry *add_jump(struct dbt_vp *vp, unsigned int slot, uint64_t va)
{
	struct jump_cache_entry *entry = &vp->jump_cache[slot][jump_cache_index(va)];

	entry->va = va;
	mmu_note_jump(vp, entry);
	return entry;
}

static void jump_caches_follow_the_flushes(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp;
	const uint64_t user = 0x3ff0, kernel = 0xffffffff81000123;
	struct jump_cache_entry *u, *k;

	for (uint64_t index = 0; index < JUMP_CACHE_ENTRIES; index++)
		assert_int_not_equal(jump_cache_index(vp->jump_cache[3][index].va), index);
	use_format(f, LONG, 0, CR4_PGE, 0);
	map_long(f, kernel, 0x5000 | P | G);
	map_long(f, user, 0x6000 | P | U);
	mmu_access(vp, kernel, 1, R);
	mmu_access(vp, user, 1, R);
	u = add_jump(vp, 0, user);
	k = add_jump(vp, 1, kernel);
	mmu_switch_cr3(vp, false);
	assert_int_not_equal(u->va, user);
	assert_int_equal(k->va, kernel);
	u = add_jump(vp, 0, user);
	mmu_flush_page(vp, 0x5000);
	assert_int_equal(u->va, user);
	mmu_flush_page(vp, 0x4000); /* the block may reach into it */
	assert_int_not_equal(u->va, user);
	assert_int_equal(k->va, kernel);
	mmu_flush_page(vp, kernel);
	assert_int_not_equal(k->va, kernel);
	k = add_jump(vp, 1, kernel);
	mmu_flush_jumps(vp);
	assert_int_not_equal(k->va, kernel);
}

/* --- crossing accesses --- */

static void crossing_accesses_in_contiguous_memory_are_direct(void **state)
{
	struct fixture *f = *state;

	use_format(f, NONE, 0, 0, 0);
	assert_ptr_equal(mmu_access(f->vp, 0x1ffd, 8, RW), f->ram + 0x1ffd);
	assert_ptr_equal(mmu_access(f->vp, 0x1ffd, 4096, RW), f->ram + 0x1ffd);
}

static void map_crossing(struct fixture *f)
{
	use_format(f, LONG, 0, 0, 0);
	map_long(f, 0x3000, 0x9000 | P | W);
	map_long(f, 0x4000, 0x7000 | P | W);
	memcpy(f->ram + 0x9ffc, "abcd", 4);
	memcpy(f->ram + 0x7000, "efgh", 4);
}

static void crossing_loads_are_gathered(void **state)
{
	struct fixture *f = *state;
	uint8_t buffer[8];
	void *host;

	map_crossing(f);
	host = mmu_access(f->vp, 0x3ffc, 8, R);
	assert_ptr_equal(host, f->vp->bounce.data);
	assert_memory_equal(host, "abcdefgh", 8);
	assert_int_equal(f->vp->bounce.bytes, 0);
	assert_int_equal(mmu_read(f->vp, 0x3ffc, buffer, 8, 0), 0);
	assert_memory_equal(buffer, "abcdefgh", 8);
	assert_ptr_equal(mmu_access(f->vp, 0x3800, 4096, R), f->vp->bounce.data);
	assert_memory_equal(f->vp->bounce.data + 0x7fc, "abcdefgh", 8);
}

static void crossing_stores_are_written_back_after_a_step(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp;

	map_crossing(f);
	assert_null(mmu_access(vp, 0x3ffc, 8, RW));
	assert_int_equal(vp->step_once, 1);
	assert_int_equal(vp->exception.vector, VEC_NONE);
	vp->stepping = 1;
	assert_ptr_equal(mmu_access(vp, 0x3ffc, 8, RW), vp->bounce.data);
	assert_memory_equal(vp->bounce.data, "abcdefgh", 8);
	memcpy(vp->bounce.data, "ABCDEFGH", 8);
	assert_memory_equal(f->ram + 0x9ffc, "abcd", 4);
	assert_int_equal(mmu_finish_bounce(vp), 0);
	assert_int_equal(vp->bounce.bytes, 0);
	assert_memory_equal(f->ram + 0x9ffc, "ABCD", 4);
	assert_memory_equal(f->ram + 0x7000, "EFGH", 4);
	vp->stepping = 0;
	assert_int_equal(mmu_write(vp, 0x3ffe, "1234", 4, 0), 0);
	assert_memory_equal(f->ram + 0x9ffe, "12", 2);
	assert_memory_equal(f->ram + 0x7000, "34", 2);
}

static void a_crossing_store_that_faults_leaves_no_trace(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp;
	gpa_t first;

	use_format(f, LONG, CR0_WP, 0, 0);
	first = map_page(f, LONG, 0x3000, 1, 0x9000 | P | W, P | W, NULL);
	map_long(f, 0x4000, 0x7000 | P);
	assert_null(mmu_access(vp, 0x3ffc, 8, WR));
	assert_int_equal(vp->exception.cr2, 0x4000);
	assert_int_equal(vp->exception.error, 3);
	assert_int_equal(vp->step_once, 0);
	assert_int_equal(entry_value(f, first, 8), 0x9000 | P | W);
	vp->exception.vector = VEC_NONE;
	assert_int_equal(mmu_write(vp, 0x3ffc, "12345678", 8, 0), -1);
	assert_int_equal(vp->exception.vector, VEC_PF);
	assert_int_equal(f->ram[0x9ffc], 0);
	map_long(f, 0x3000, 0);
	assert_null(mmu_access(vp, 0x3ffc, 8, WR));
	assert_int_equal(vp->exception.cr2, 0x3ffc);
	assert_int_equal(vp->exception.error, 2);
}

/* --- devices --- */

#define MMIO_GPA 0xd0000000ull

static void answer(struct dbt_vp *vp, uint64_t data)
{
	vp->answer.valid = true;
	vp->answer.reason = VP_EXIT_MMIO;
	vp->answer.write = vp->exit.mmio.write;
	vp->answer.address = vp->exit.mmio.gpa;
	vp->answer.bytes = vp->exit.mmio.bytes;
	vp->answer.data = data;
	vp->leave = LEAVE_NONE;
}

static void expect_mmio(struct dbt_vp *vp, gpa_t gpa, uint8_t bytes, bool write)
{
	assert_int_equal(vp->leave, LEAVE_EXIT);
	assert_int_equal(vp->exit.reason, VP_EXIT_MMIO);
	assert_int_equal(vp->exit.mmio.gpa, gpa);
	assert_int_equal(vp->exit.mmio.bytes, bytes);
	assert_int_equal(vp->exit.mmio.write, write);
}

static void mmio_reads_take_their_answers_piece_by_piece(void **state)
{
	static const struct {
		uint64_t offset;
		uint32_t bytes;
		uint8_t pieces[8];
	} cases[] = {{0, 1, {1}}, {4, 4, {4}}, {8, 8, {8}}, {0, 16, {8, 8}}, {2, 4, {2, 2}},
		     {1, 4, {1, 2, 1}}, {0, 10, {8, 2}}, {4, 8, {4, 4}}};
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp;

	use_format(f, NONE, 0, 0, 0);
	assert_null(mmu_access(vp, MMIO_GPA, 4, R));
	assert_int_equal(vp->step_once, 1);
	vp->stepping = 1;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t gpa = MMIO_GPA + cases[i].offset;
		uint32_t done = 0;

		for (unsigned int piece = 0; cases[i].pieces[piece]; piece++) {
			assert_null(mmu_access(vp, MMIO_GPA + cases[i].offset, cases[i].bytes, R));
			expect_mmio(vp, gpa + done, cases[i].pieces[piece], false);
			assert_int_equal(vp->exit.mmio.data, ~0ull);
			answer(vp, 0x8877665544332211 + piece);
			done += cases[i].pieces[piece];
		}
		assert_ptr_equal(mmu_access(vp, gpa, cases[i].bytes, R), vp->bounce.data);
		assert_int_equal(vp->bounce.data[0], 0x11);
		assert_false(vp->answer.valid);
		assert_int_equal(vp->bounce.bytes, 0);
	}
}

static void an_answer_to_something_else_is_not_taken(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp;

	use_format(f, NONE, 0, 0, 0);
	vp->stepping = 1;
	for (unsigned int wrong = 0; wrong < 4; wrong++) {
		assert_null(mmu_access(vp, MMIO_GPA, 4, R));
		answer(vp, 1);
		vp->answer.address += wrong == 0;
		vp->answer.bytes += wrong == 1;
		vp->answer.write = wrong == 2;
		vp->answer.reason = wrong == 3 ? VP_EXIT_PIO : VP_EXIT_MMIO;
		assert_null(mmu_access(vp, MMIO_GPA, 4, R));
		expect_mmio(vp, MMIO_GPA, 4, false);
	}
}

static void mmio_writes_exit_after_the_instruction(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp;

	use_format(f, NONE, 0, 0, 0);
	assert_null(mmu_access(vp, MMIO_GPA, 16, WR));
	assert_int_equal(vp->step_once, 1);
	vp->stepping = 1;
	assert_ptr_equal(mmu_access(vp, MMIO_GPA, 16, WR), vp->bounce.data);
	assert_int_equal(vp->leave, LEAVE_NONE);
	memcpy(vp->bounce.data, "ABCDEFGHabcdefgh", 16);
	assert_int_equal(mmu_finish_bounce(vp), 1);
	expect_mmio(vp, MMIO_GPA, 8, true);
	assert_memory_equal(&vp->exit.mmio.data, "ABCDEFGH", 8);
	assert_int_equal(mmu_finish_bounce(vp), 1); /* the first exit has not been seen yet */
	expect_mmio(vp, MMIO_GPA, 8, true);
	vp->leave = LEAVE_NONE;
	assert_int_equal(mmu_finish_bounce(vp), 1);
	expect_mmio(vp, MMIO_GPA + 8, 8, true);
	vp->leave = LEAVE_NONE;
	assert_int_equal(mmu_finish_bounce(vp), 0);
	assert_int_equal(vp->bounce.bytes, 0);

	vp->stepping = 0;
	assert_int_equal(mmu_write(vp, MMIO_GPA + 2, "xy", 2, 0), 1);
	expect_mmio(vp, MMIO_GPA + 2, 2, true);
	assert_int_equal(vp->exit.mmio.data, 'x' | 'y' << 8);
}

static void read_modify_write_of_a_device_reads_then_writes(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp;

	use_format(f, NONE, 0, 0, 0);
	vp->stepping = 1;
	assert_null(mmu_access(vp, MMIO_GPA, 4, RW));
	expect_mmio(vp, MMIO_GPA, 4, false);
	answer(vp, 41);
	assert_ptr_equal(mmu_access(vp, MMIO_GPA, 4, RW), vp->bounce.data);
	++*(uint32_t *)vp->bounce.data;
	assert_int_equal(mmu_finish_bounce(vp), 1);
	expect_mmio(vp, MMIO_GPA, 4, true);
	assert_int_equal(vp->exit.mmio.data, 42);
}

static void rom_reads_are_memory_and_writes_are_mmio(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp;

	use_format(f, NONE, 0, 0, 0);
	f->rom[5] = 99;
	assert_ptr_equal(mmu_access(vp, ROM_GPA + 5, 1, R), f->rom + 5);
	assert_null(inline_check(vp, TLB_KERNEL, ROM_GPA, 1, true));
	assert_int_equal(mmu_write(vp, ROM_GPA + 5, "x", 1, 0), 1);
	expect_mmio(vp, ROM_GPA + 5, 1, true);
	assert_int_equal(f->rom[5], 99);
}

static void accesses_may_cross_from_memory_into_a_device(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp;

	use_format(f, NONE, 0, 0, 0);
	memset(f->ram + RAM_BYTES - 4, 0x55, 4);
	vp->stepping = 1;
	assert_null(mmu_access(vp, RAM_BYTES - 4, 8, RW));
	expect_mmio(vp, RAM_BYTES, 4, false);
	answer(vp, 0x99999999);
	assert_ptr_equal(mmu_access(vp, RAM_BYTES - 4, 8, RW), vp->bounce.data);
	assert_int_equal(*(uint64_t *)vp->bounce.data, 0x9999999955555555);
	*(uint64_t *)vp->bounce.data += 0x0000000100000001;
	assert_int_equal(mmu_finish_bounce(vp), 1);
	expect_mmio(vp, RAM_BYTES, 4, true);
	assert_int_equal(vp->exit.mmio.data, 0x9999999a);
	assert_int_equal(f->ram[RAM_BYTES - 4], 0x56);
}

static void doorbells_take_matching_writes(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp;
	int fd = eventfd(0, EFD_NONBLOCK);
	uint64_t rings;

	use_format(f, NONE, 0, 0, 0);
	f->part.doorbells[0] = (struct doorbell){DOORBELL_MMIO, MMIO_GPA, 4, true, 7, fd};
	f->part.doorbell_count = 1;
	assert_int_equal(mmu_write(vp, MMIO_GPA, &(uint32_t){7}, 4, 0), 0);
	assert_int_equal(read(fd, &rings, 8), 8);
	assert_int_equal(mmu_write(vp, MMIO_GPA, &(uint32_t){8}, 4, 0), 1);
	vp->leave = LEAVE_NONE;
	assert_int_equal(mmu_write(vp, MMIO_GPA, &(uint16_t){7}, 2, 0), 1);
	assert_int_equal(read(fd, &rings, 8), -1);
	close(fd);
}

static void the_apic_page_is_served_here(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp;

	use_format(f, NONE, 0, 0, 0);
	vp->stepping = 1;
	assert_ptr_equal(mmu_access(vp, APIC_GPA + 0x30, 4, R), vp->bounce.data);
	assert_int_equal(*(uint32_t *)vp->bounce.data, 0xa0000030);
	assert_non_null(mmu_access(vp, APIC_GPA + 0x80, 4, WR));
	*(uint32_t *)vp->bounce.data = 0x20;
	assert_int_equal(mmu_finish_bounce(vp), 0);
	assert_int_equal(apic_written, 0x20);
	assert_int_equal(apic_written_offset, 0x80);
	apic_exits = true;
	assert_non_null(mmu_access(vp, APIC_GPA + 0xb0, 4, WR));
	assert_int_equal(mmu_finish_bounce(vp), 1);
	assert_int_equal(vp->exit.reason, VP_EXIT_EOI);
	vp->leave = LEAVE_NONE;
	assert_int_equal(mmu_finish_bounce(vp), 0);
}

/* --- dirty log and code --- */

static _Atomic uint8_t *logged_flags(struct fixture *f)
{
	return f->part.slots[1].page_flags;
}

static void first_writes_are_logged(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp;

	use_format(f, NONE, 0, 0, 0);
	mmu_access(vp, LOGGED_GPA, 8, R);
	assert_int_equal(logged_flags(f)[0], 0);
	assert_null(inline_check(vp, TLB_KERNEL, LOGGED_GPA, 8, true));
	mmu_access(vp, LOGGED_GPA, 8, WR);
	assert_int_equal(logged_flags(f)[0], PAGE_DIRTY);
	assert_non_null(inline_check(vp, TLB_KERNEL, LOGGED_GPA, 8, true));
	mmu_write(vp, LOGGED_GPA + 0x1ffc, "12345678", 8, 0);
	assert_int_equal(logged_flags(f)[1], PAGE_DIRTY);
	assert_int_equal(logged_flags(f)[2], PAGE_DIRTY);
}

static void page_tables_are_logged_too(void **state)
{
	struct fixture *f = *state;

	use_format(f, LEGACY, 0, 0, 0);
	memcpy(f->logged, &(uint32_t){P | W | PS}, 4);
	f->vp->cr3 = LOGGED_GPA;
	mmu_flush_all(f->vp);
	assert_non_null(mmu_access(f->vp, 0, 1, R));
	assert_int_equal(logged_flags(f)[0], PAGE_DIRTY);
}

static void stores_beside_code_go_on_and_stores_into_it_step(void **state)
{
	struct fixture *f = *state;
	struct dbt_vp *vp = f->vp;
	uint64_t bytes;

	use_format(f, NONE, 0, 0, 0);
	mmu_access(vp, 0x5000, 8, RW);
	assert_non_null(inline_check(vp, TLB_KERNEL, 0x5000, 8, true));
	f->part.slots[0].page_flags[5] = PAGE_HAS_CODE;
	mmu_protect_code(vp, 0x5000);
	assert_null(inline_check(vp, TLB_KERNEL, 0x5000, 8, true));
	assert_non_null(inline_check(vp, TLB_KERNEL, 0x5000, 8, false));
	assert_ptr_equal(mmu_access(vp, 0x5000, 8, WR), f->ram + 0x5000);
	assert_int_equal(code_hits, 1);
	assert_null(inline_check(vp, TLB_KERNEL, 0x5000, 8, true));
	assert_null(mmu_host_span(vp, 0x5000, WR, &bytes));
	assert_ptr_equal(mmu_host_span(vp, 0x5010, R, &bytes), f->ram + 0x5010);
	assert_int_equal(bytes, 0xff0);

	code_hit = true;
	assert_null(mmu_access(vp, 0x5000, 8, WR));
	assert_int_equal(vp->step_once, 1);
	assert_int_equal(mmu_write(vp, 0x5000, "x", 1, 0), 1);
	assert_int_equal(vp->leave, LEAVE_REQUEST);
	assert_int_equal(f->ram[0x5000], 'x');
	vp->stepping = 1;
	assert_ptr_equal(mmu_access(vp, 0x5000, 8, WR), f->ram + 0x5000);
}

static void spans_never_raise(void **state)
{
	struct fixture *f = *state;
	uint64_t bytes;

	use_format(f, LONG, 0, 0, 0);
	assert_null(mmu_host_span(f->vp, 0x3000, R, &bytes));
	assert_null(mmu_host_span(f->vp, 0x8000000000000000, WR, &bytes));
	assert_int_equal(f->vp->exception.vector, VEC_NONE);
	assert_int_equal(f->vp->leave, LEAVE_NONE);
}

static void fetches_outside_memory_are_undefined_instructions(void **state)
{
	struct fixture *f = *state;
	const uint8_t *host;
	gpa_t gpa;

	use_format(f, NONE, 0, 0, 0);
	assert_int_equal(mmu_fetch_page(f->vp, 0x1234, &gpa, &host), 0);
	assert_int_equal(gpa, 0x1234);
	assert_ptr_equal(host, f->ram + 0x1234);
	assert_int_equal(mmu_fetch_page(f->vp, MMIO_GPA, &gpa, &host), -1);
	assert_int_equal(f->vp->exception.vector, VEC_UD);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(walks_check_permissions_and_set_accessed_and_dirty_exactly),
		TEST(every_page_size_leads_to_the_right_address),
		TEST(addresses_that_are_not_canonical_fault),
		TEST(tables_outside_memory_read_as_all_ones),
		TEST(dirty_and_permissions_decide_the_write_tag),
		TEST(the_second_level_saves_walks_for_all_modes),
		TEST(flushes_drop_what_they_must_and_keep_what_they_may),
		TEST(entries_that_changed_between_global_and_not_are_flushed_as_what_they_are),
		TEST(address_spaces_with_pcids_do_not_mix),
		TEST(running_out_of_address_space_numbers_brings_nothing_back),
		TEST(invlpg_of_a_large_page_drops_all_of_its_pieces),
		TEST(changed_control_bits_flush),
		TEST(jump_caches_follow_the_flushes),
		TEST(crossing_accesses_in_contiguous_memory_are_direct),
		TEST(crossing_loads_are_gathered),
		TEST(crossing_stores_are_written_back_after_a_step),
		TEST(a_crossing_store_that_faults_leaves_no_trace),
		TEST(mmio_reads_take_their_answers_piece_by_piece),
		TEST(an_answer_to_something_else_is_not_taken),
		TEST(mmio_writes_exit_after_the_instruction),
		TEST(read_modify_write_of_a_device_reads_then_writes),
		TEST(rom_reads_are_memory_and_writes_are_mmio),
		TEST(accesses_may_cross_from_memory_into_a_device),
		TEST(doorbells_take_matching_writes),
		TEST(the_apic_page_is_served_here),
		TEST(first_writes_are_logged),
		TEST(page_tables_are_logged_too),
		TEST(stores_beside_code_go_on_and_stores_into_it_step),
		TEST(spans_never_raise),
		TEST(fetches_outside_memory_are_undefined_instructions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
