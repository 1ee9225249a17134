/*
 * engine.c - the software CPU engine behind the partition interface
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "apic.h"
#include "code_cache.h"
#include "cpu.h"
#include "loop.h"
#include "mmu.h"
#include "run.h"
#include "stats.h"
#include "trace.h"

#ifndef CODE_CACHE_BYTES
#define CODE_CACHE_BYTES (32 * MIB)
#endif
#define TSC_SAMPLE_NS 10000000

static struct dbt_partition *to_dbt(struct partition *part)
{
	return (struct dbt_partition *)part;
}

/* --- creation --- */

static void dbt_probe(struct engine_probe *probe)
{
	__builtin_cpu_init();
	if (!__builtin_cpu_supports("sse4.2") || !__builtin_cpu_supports("avx")) {
		*probe = (struct engine_probe){.usable = false, .code = "old-cpu"};
		snprintf(probe->why, sizeof(probe->why), "the host CPU lacks SSE4.2 or AVX, which the engine needs");
		return;
	}
	*probe = (struct engine_probe){.usable = true, .code = "ok"};
	snprintf(probe->why, sizeof(probe->why), "software CPU engine: needs no hardware virtualization");
}

struct clocks {
	uint64_t ns, tsc;
};

/* Both clocks at one moment: of several readings that which took the shortest time. */
static struct clocks read_clocks(void)
{
	struct clocks best = {};
	uint64_t shortest = UINT64_MAX;

	for (int tries = 0; tries < 8; tries++) {
		uint64_t before = host_rdtsc(), ns = monotonic_ns(), took = host_rdtsc() - before;

		if (took >= shortest)
			continue;
		shortest = took;
		best = (struct clocks){.ns = ns, .tsc = before + took / 2};
	}
	return best;
}

/* The host's TSC rate against CLOCK_MONOTONIC, which the guest's timers follow. */
static uint64_t measure_tsc_hz(void)
{
	struct clocks start = read_clocks(), end;

	do {
		end = read_clocks();
	} while (end.ns - start.ns < TSC_SAMPLE_NS);
	return (unsigned __int128)(end.tsc - start.tsc) * 1000000000 / (end.ns - start.ns);
}

static void take_cpuid(struct dbt_partition *part, const struct partition_config *config)
{
	part->cpuid_count = config->cpuid_count;
	memcpy(part->cpuid, config->cpuid, config->cpuid_count * sizeof(*config->cpuid));
	part->physical_bits = 36;
	for (size_t i = 0; i < part->cpuid_count; i++) {
		if (part->cpuid[i].leaf == 0x80000008 && (part->cpuid[i].eax & 0xff))
			part->physical_bits = MIN(part->cpuid[i].eax & 0xff, 52u);
		if (part->cpuid[i].leaf == 0x80000001)
			part->has_1g_pages = part->cpuid[i].edx & BIT(26);
	}
}

static void dbt_destroy(struct partition *base);
static void free_slot(struct memory_slot *slot);

static int dbt_create(const struct partition_config *config, struct partition **ret_part)
{
	struct dbt_partition *part;
	int r;

	part = calloc(1, sizeof(*part));
	if (!part)
		return -ENOMEM;
	pthread_mutex_init(&part->lock, NULL);
	take_cpuid(part, config);
	part->exit_msr_count = config->exit_msr_count;
	if (config->exit_msr_count)
		memcpy(part->exit_msrs, config->exit_msrs, config->exit_msr_count * sizeof(*config->exit_msrs));
	part->acknowledge_extint = config->acknowledge_extint;
	part->ctx = config->ctx;
	part->tsc_hz = measure_tsc_hz();
	dbt_signals_install();
	r = code_cache_new(part, CODE_CACHE_BYTES);
	if (r == 0)
		r = apic_timers_start(part);
	if (r < 0) {
		dbt_destroy(&part->part);
		return r;
	}
	*ret_part = &part->part;
	return 0;
}

static void free_vp(struct dbt_vp *vp)
{
	dbt_release_thread(vp);
	apic_vp_destroy(vp);
	mmu_vp_destroy(vp);
	trace_vp_destroy(vp);
	free(vp->signal_stack);
	free(vp);
}

static void dbt_destroy(struct partition *base)
{
	struct dbt_partition *part = to_dbt(base);

	apic_timers_stop(part);
	for (unsigned int i = 0; i < PARTITION_MAX_VPS; i++)
		if (base->vps[i])
			free_vp(to_dbt_vp(base->vps[i]));
	for (unsigned int i = 0; i < part->slot_count; i++)
		free_slot(&part->slots[i]);
	code_cache_free(part);
	pthread_mutex_destroy(&part->lock);
	free(part);
}

static int dbt_create_vp(struct partition *base, unsigned int index, struct vp **ret_vp)
{
	struct dbt_vp *vp = aligned_alloc(64, ALIGN_UP(sizeof(*vp), 64));
	int r;

	if (!vp)
		return -ENOMEM;
	memset(vp, 0, sizeof(*vp));
	vp->vp.part = base;
	vp->vp.index = index;
	vp->self = vp;
	vp->exception.vector = VEC_NONE;
	vp->last_vector = VEC_NONE;
	vp->apic.id = index;
	vp->apic.timer_fd = -1;
	vp->exit.reason = VP_EXIT_CANCELLED;
	vp->signal_stack = malloc(SIGNAL_STACK_BYTES);
	r = vp->signal_stack ? mmu_vp_create(vp) : -ENOMEM;
	if (r == 0)
		r = trace_vp_create(vp);
	if (r == 0)
		r = apic_vp_create(vp);
	if (r < 0) {
		free_vp(vp);
		return r;
	}
	/* While jump_mask is 0 every indirect jump looks at entry 0, whatever its target. */
	for (unsigned int slot = 0; slot < MODE_SLOTS; slot++)
		vp->jump_cache[slot][0].code = (uintptr_t)to_dbt(base)->cache->thunks.miss;
	cpu_reset(vp, false);
	*ret_vp = &vp->vp;
	return 0;
}

/* --- memory --- */

static void *map_zeroed(uint64_t bytes)
{
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

/* Inside stop_vps(): every VP forgets what it knew of the memory map. */
static void forget_translations(struct dbt_partition *part)
{
	for (unsigned int i = 0; i < part->part.vp_count; i++) {
		struct dbt_vp *vp = partition_vp(part, i);

		if (!vp)
			continue;
		atomic_fetch_or(&vp->requests, REQ_FLUSH_TLB);
		vp_request_exit(vp);
	}
}

static bool overlaps(struct dbt_partition *part, gpa_t gpa, uint64_t bytes)
{
	for (unsigned int i = 0; i < part->slot_count; i++)
		if (part->slots[i].gpa < gpa + bytes && gpa < part->slots[i].gpa + part->slots[i].bytes)
			return true;
	return false;
}

static void free_slot(struct memory_slot *slot)
{
	if (slot->page_flags != MAP_FAILED)
		munmap((void *)slot->page_flags, slot->bytes / PAGE_BYTES);
	if (slot->code_pages != MAP_FAILED)
		munmap(slot->code_pages, slot->bytes / PAGE_BYTES * sizeof(*slot->code_pages));
}

/* VPs are stopped. */
static int insert_slot(struct dbt_partition *part, const struct memory_slot *slot)
{
	unsigned int at;

	if (overlaps(part, slot->gpa, slot->bytes))
		return -EEXIST;
	if (part->slot_count == PARTITION_MAX_SLOTS)
		return -ENOSPC;
	for (at = part->slot_count; at > 0 && part->slots[at - 1].gpa > slot->gpa; at--)
		part->slots[at] = part->slots[at - 1];
	part->slots[at] = *slot;
	part->slot_count++;
	forget_translations(part);
	return 0;
}

static int dbt_map_gpa(struct partition *base, gpa_t gpa, uint64_t bytes, void *hva, unsigned int access)
{
	struct dbt_partition *part = to_dbt(base);
	struct memory_slot slot = {.gpa = gpa, .bytes = bytes, .hva = hva, .access = access};
	int r;

	slot.page_flags = map_zeroed(bytes / PAGE_BYTES);
	slot.code_pages = map_zeroed(bytes / PAGE_BYTES * sizeof(*slot.code_pages));
	if (slot.page_flags == MAP_FAILED || slot.code_pages == MAP_FAILED) {
		free_slot(&slot);
		return -ENOMEM;
	}
	pthread_mutex_lock(&part->lock);
	stop_vps(part, NULL);
	r = insert_slot(part, &slot);
	resume_vps(part, NULL);
	pthread_mutex_unlock(&part->lock);
	if (r < 0)
		free_slot(&slot);
	return r;
}

static struct memory_slot *exact_slot(struct dbt_partition *part, gpa_t gpa, uint64_t bytes)
{
	struct memory_slot *slot = find_slot(part, gpa);

	return slot && slot->gpa == gpa && slot->bytes == bytes ? slot : NULL;
}

static int dbt_unmap_gpa(struct partition *base, gpa_t gpa, uint64_t bytes)
{
	struct dbt_partition *part = to_dbt(base);
	struct memory_slot *slot;
	int r = -ENOENT;

	pthread_mutex_lock(&part->lock);
	stop_vps(part, NULL);
	slot = exact_slot(part, gpa, bytes);
	if (slot) {
		code_cache_flush(part);
		forget_translations(part);
		free_slot(slot);
		part->slot_count--;
		memmove(slot, slot + 1, (part->slots + part->slot_count - slot) * sizeof(*slot));
		r = 0;
	}
	resume_vps(part, NULL);
	pthread_mutex_unlock(&part->lock);
	return r;
}

static int dbt_get_dirty(struct partition *base, gpa_t gpa, uint64_t bytes, uint64_t *bitmap)
{
	struct dbt_partition *part = to_dbt(base);
	struct memory_slot *slot;
	int r = -ENOENT;

	pthread_mutex_lock(&part->lock);
	stop_vps(part, NULL);
	slot = exact_slot(part, gpa, bytes);
	if (slot && (slot->access & MAP_GPA_DIRTY)) {
		memset(bitmap, 0, ALIGN_UP(bytes / PAGE_BYTES, 64) / 8);
		for (uint64_t page = 0; page < bytes / PAGE_BYTES; page++)
			if (atomic_fetch_and(&slot->page_flags[page], (uint8_t)~PAGE_DIRTY) & PAGE_DIRTY)
				bitmap[page / 64] |= BIT(page % 64);
		forget_translations(part);
		r = 0;
	}
	resume_vps(part, NULL);
	pthread_mutex_unlock(&part->lock);
	return r;
}

static bool page_has_code(struct dbt_partition *part, gpa_t gpa)
{
	struct memory_slot *slot = find_slot(part, gpa);

	return slot && (atomic_load(&slot->page_flags[(gpa - slot->gpa) / PAGE_BYTES]) & PAGE_HAS_CODE);
}

static void dbt_memory_written(struct partition *base, gpa_t gpa, uint64_t bytes)
{
	struct dbt_partition *part = to_dbt(base);
	bool stopped = false;

	pthread_mutex_lock(&part->lock);
	for (gpa_t at = gpa, next; at < gpa + bytes; at = next) {
		next = MIN(ALIGN_DOWN(at, PAGE_BYTES) + PAGE_BYTES, gpa + bytes);
		if (!page_has_code(part, at))
			continue;
		if (!stopped)
			stop_vps(part, NULL);
		stopped = true;
		code_cache_invalidate(part, NULL, at, next - at);
	}
	if (stopped)
		resume_vps(part, NULL);
	pthread_mutex_unlock(&part->lock);
}

/*
 * The request is taken in the dispatcher, before any guest instruction; a VP outside of the guest
 * takes it on its way in. The caller is outside, so two that flush each other do not wait.
 */
static int dbt_flush_tlb(struct partition *base, struct vp *caller, uint64_t vp_mask)
{
	struct dbt_vp *vp;

	for (unsigned int i = 0; i < base->vp_count; i++) {
		vp = vp_mask & BIT(i) ? partition_vp(to_dbt(base), i) : NULL;
		if (!vp)
			continue;
		atomic_fetch_or(&vp->requests, REQ_FLUSH_TLB);
		vp_request_exit(vp);
	}
	for (unsigned int i = 0; i < base->vp_count; i++) {
		vp = vp_mask & BIT(i) ? partition_vp(to_dbt(base), i) : NULL;
		while (vp && atomic_load(&vp->in_guest) && (atomic_load(&vp->requests) & REQ_FLUSH_TLB))
			sched_yield();
	}
	return 0;
}

/* --- registers --- */

static int dbt_get_regs(struct vp *base, struct vp_regs *regs)
{
	struct dbt_vp *vp = to_dbt_vp(base);

	memcpy(regs->gpr, vp->gpr, sizeof(regs->gpr));
	regs->rip = vp->rip;
	regs->rflags = vp_rflags(vp);
	return 0;
}

static int dbt_set_regs(struct vp *base, const struct vp_regs *regs)
{
	struct dbt_vp *vp = to_dbt_vp(base);

	memcpy(vp->gpr, regs->gpr, sizeof(vp->gpr));
	vp->rip = regs->rip;
	vp_set_rflags(vp, regs->rflags);
	cpu_update_mode(vp);
	return 0;
}

static int dbt_get_state(struct vp *base, struct vp_state *state)
{
	cpu_get_state(to_dbt_vp(base), state);
	return 0;
}

static int dbt_set_state(struct vp *base, const struct vp_state *state)
{
	struct dbt_vp *vp = to_dbt_vp(base);
	int r = cpu_set_state(vp, state);

	if (r == 0) {
		vp->answer.valid = false;
		vp->bounce.bytes = 0;
		vp->step_once = vp->stepping = 0;
		mmu_flush_all(vp);
		atomic_store(&vp->irq_pending, 1);
	}
	return r;
}

static int dbt_get_mode(struct vp *base, struct vp_mode *mode)
{
	struct dbt_vp *vp = to_dbt_vp(base);

	*mode = (struct vp_mode){.cpl = vp->cpl,
				 .protected_mode = vp->cr0 & BIT(0),
				 .long_mode = vp->efer & BIT(10)};
	return 0;
}

static int dbt_get_clocks(struct partition *base, struct partition_clocks *clocks)
{
	*clocks = (struct partition_clocks){.tsc_hz = to_dbt(base)->tsc_hz,
					    .apic_hz = APIC_TIMER_HZ,
					    .tsc_offset = to_dbt_vp(base->vps[0])->tsc_offset};
	return 0;
}

/* No VP runs, so nobody but the timer thread looks at a clock meanwhile. */
static int dbt_stop_time(struct partition *base)
{
	atomic_store(&to_dbt(base)->stopped_tsc, host_rdtsc());
	return 0;
}

static int dbt_start_time(struct partition *base)
{
	struct dbt_partition *part = to_dbt(base);
	uint64_t lost = host_rdtsc() - atomic_load(&part->stopped_tsc);

	for (unsigned int i = 0; i < base->vp_count; i++) {
		struct dbt_vp *vp = partition_vp(part, i);

		if (!vp)
			continue;
		vp->tsc_offset -= lost;
		apic_timer_delay(vp, lost);
	}
	atomic_store(&part->stopped_tsc, 0);
	for (unsigned int i = 0; i < base->vp_count; i++)
		if (partition_vp(part, i))
			apic_timer_wake(partition_vp(part, i));
	return 0;
}

/* --- events --- */

static void dbt_cancel(struct vp *base)
{
	struct dbt_vp *vp = to_dbt_vp(base);

	atomic_fetch_or(&vp->requests, REQ_CANCEL);
	dbt_kick(vp);
}

static int dbt_send_msi(struct partition *base, const struct msi *msi)
{
	apic_send_msi(to_dbt(base), msi);
	return 0;
}

static int dbt_inject_nmi(struct vp *base)
{
	struct dbt_vp *vp = to_dbt_vp(base);

	atomic_fetch_or(&vp->requests, REQ_NMI);
	dbt_kick(vp);
	return 0;
}

static int dbt_set_extint(struct partition *base, bool asserted)
{
	apic_set_extint(to_dbt(base), asserted);
	return 0;
}

/* Level-triggered vectors are known from TMR. */
static int dbt_set_ioapic_routes(struct partition *base, const struct msi *routes, size_t count)
{
	return 0;
}

static bool same_doorbell(const struct doorbell *a, const struct doorbell *b)
{
	return a->space == b->space && a->address == b->address && a->bytes == b->bytes && a->match == b->match &&
	       (!a->match || a->value == b->value);
}

static int find_doorbell(struct dbt_partition *part, const struct doorbell *bell)
{
	for (unsigned int i = 0; i < part->doorbell_count; i++)
		if (same_doorbell(&part->doorbells[i], bell))
			return i;
	return -ENOENT;
}

static int dbt_add_doorbell(struct partition *base, const struct doorbell *bell)
{
	struct dbt_partition *part = to_dbt(base);
	int r = 0;

	pthread_mutex_lock(&part->lock);
	stop_vps(part, NULL);
	if (find_doorbell(part, bell) >= 0)
		r = -EEXIST;
	else if (part->doorbell_count == ARRAY_SIZE(part->doorbells))
		r = -ENOSPC;
	else
		part->doorbells[part->doorbell_count++] = *bell;
	resume_vps(part, NULL);
	pthread_mutex_unlock(&part->lock);
	return r;
}

static int dbt_remove_doorbell(struct partition *base, const struct doorbell *bell)
{
	struct dbt_partition *part = to_dbt(base);
	int at;

	pthread_mutex_lock(&part->lock);
	stop_vps(part, NULL);
	at = find_doorbell(part, bell);
	if (at >= 0)
		part->doorbells[at] = part->doorbells[--part->doorbell_count];
	resume_vps(part, NULL);
	pthread_mutex_unlock(&part->lock);
	return at < 0 ? at : 0;
}

static size_t dbt_get_stats(struct partition *base, struct partition_stat *stats, size_t max)
{
	static const char *const names[] = {
#define X(name, text) text,
		DBT_STATS(X)
#undef X
	};
	size_t count = MIN(max, ARRAY_SIZE(names));

	for (size_t i = 0; i < count; i++) {
		stats[i] = (struct partition_stat){.name = names[i]};
		for (unsigned int v = 0; v < base->vp_count; v++)
			if (base->vps[v])
				stats[i].value += to_dbt_vp(base->vps[v])->stats[i];
	}
	return count;
}

static const struct partition_ops dbt_ops = {
	.create = dbt_create,
	.destroy = dbt_destroy,
	.map_gpa = dbt_map_gpa,
	.unmap_gpa = dbt_unmap_gpa,
	.create_vp = dbt_create_vp,
	.vp_run = dbt_vp_run,
	.vp_cancel = dbt_cancel,
	.vp_get_regs = dbt_get_regs,
	.vp_set_regs = dbt_set_regs,
	.vp_get_state = dbt_get_state,
	.vp_set_state = dbt_set_state,
	.send_msi = dbt_send_msi,
	.inject_nmi = dbt_inject_nmi,
	.set_extint = dbt_set_extint,
	.set_ioapic_routes = dbt_set_ioapic_routes,
	.add_doorbell = dbt_add_doorbell,
	.remove_doorbell = dbt_remove_doorbell,
	.get_dirty = dbt_get_dirty,
	.memory_written = dbt_memory_written,
	.vp_get_mode = dbt_get_mode,
	.get_clocks = dbt_get_clocks,
	.flush_tlb = dbt_flush_tlb,
	.stop_time = dbt_stop_time,
	.start_time = dbt_start_time,
	.get_stats = dbt_get_stats,
};

const struct engine dbt_engine = {
	.name = "dbt",
	.description = "software CPU: dynamic binary translation, no hardware virtualization needed",
	.probe = dbt_probe,
	.supported_cpuid = cpu_supported_cpuid,
	.ops = &dbt_ops,
};
