/*
 * test_rig.c - see test_rig.h
 *
 * Reports by abort(), which both cmocka's runner and a fuzzer take for a failure.
 */
#include "test_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			fail_check(__FILE__, __LINE__, #condition);                                \
	} while (0)

static __thread const struct rig *lock_owner; /* the rig whose lock this thread holds */

static void fail_check(const char *file, int line, const char *condition)
{
	fprintf(stderr, "%s:%d: not so: %s\n", file, line, condition);
	abort();
}

/* --- services --- */

static uint64_t guest_tsc(void *ctx)
{
	struct rig *rig = ctx;

	return atomic_load(&rig->tsc);
}

static void *ram(void *ctx, gpa_t gpa, uint64_t bytes)
{
	struct rig *rig = ctx;
	uint64_t offset = gpa - RIG_RAM;

	if (!bytes || offset >= RIG_RAM_BYTES || bytes > RIG_RAM_BYTES - offset)
		return NULL;
	return rig->ram + offset;
}

static void ram_written(void *ctx, gpa_t gpa, uint64_t bytes)
{
	struct rig *rig = ctx;

	CHECK(lock_owner != rig);
	CHECK(ram(rig, gpa, bytes));
	if (!rig->quiet)
		memset(rig->announced + (gpa - RIG_RAM), 1, bytes);
}

static void interrupt(void *ctx, unsigned int vp, uint8_t vector)
{
	struct rig *rig = ctx;

	CHECK(lock_owner == rig);
	CHECK(vp < RIG_VPS && vector >= HV_FIRST_VECTOR);
	rig->interrupts[vp][vector]++;
	rig->interrupt_count++;
}

static void arm_timer(void *ctx, unsigned int vp, unsigned int timer, uint64_t due_100ns)
{
	struct rig *rig = ctx;

	CHECK(lock_owner == rig);
	CHECK(vp < RIG_VPS && timer < HV_STIMERS);
	rig->due_100ns[vp][timer] = due_100ns;
}

static void write_hypercall_page(void *ctx, bool long_mode, uint8_t page[4096])
{
	CHECK(lock_owner != ctx);
	memset(page, long_mode ? 0x64 : 0x32, PAGE_BYTES);
}

static int get_xmm(void *ctx, unsigned int vp, uint8_t xmm[6][16])
{
	struct rig *rig = ctx;

	CHECK(lock_owner != rig);
	if (!rig->xmm_result)
		memcpy(xmm, rig->xmm, sizeof(rig->xmm));
	return rig->xmm_result;
}

static uint16_t post_message(void *ctx, uint32_t connection_id, const void *payload, uint32_t bytes)
{
	struct rig *rig = ctx;

	CHECK(lock_owner != rig);
	CHECK(bytes <= sizeof(rig->posted.payload));
	rig->posted.count++;
	rig->posted.connection_id = connection_id;
	rig->posted.bytes = bytes;
	memcpy(rig->posted.payload, payload, bytes);
	return rig->status;
}

static uint16_t signal_event(void *ctx, uint32_t connection_id, uint16_t flag)
{
	struct rig *rig = ctx;

	CHECK(lock_owner != rig);
	CHECK(flag < HV_EVENT_FLAGS);
	rig->signalled.count++;
	rig->signalled.connection_id = connection_id;
	rig->signalled.flag = flag;
	return rig->status;
}

static void synic_ready(void *ctx)
{
	struct rig *rig = ctx;

	CHECK(lock_owner != rig);
	atomic_fetch_add(&rig->synic_ready, 1);
}

static int flush_tlb(void *ctx, unsigned int vp, uint64_t vp_mask)
{
	struct rig *rig = ctx;

	CHECK(lock_owner != rig);
	CHECK(vp_mask && !(vp_mask & ~(BIT(RIG_VPS) - 1)));
	rig->flushes++;
	rig->flushed = vp_mask;
	return rig->flush_result;
}

static void crash(void *ctx, const struct hv_crash *crash)
{
	struct rig *rig = ctx;

	CHECK(lock_owner != rig);
	rig->crashes++;
	rig->crash = *crash;
}

static void reset(void *ctx)
{
	struct rig *rig = ctx;

	CHECK(lock_owner != rig);
	atomic_fetch_add(&rig->resets, 1);
}

static void yield(void *ctx)
{
	struct rig *rig = ctx;

	CHECK(lock_owner != rig);
	atomic_fetch_add(&rig->yields, 1);
}

static void lock(void *ctx)
{
	struct rig *rig = ctx;

	CHECK(lock_owner != rig);
	pthread_mutex_lock(&rig->mutex);
	lock_owner = rig;
}

static void unlock(void *ctx)
{
	struct rig *rig = ctx;

	CHECK(lock_owner == rig);
	lock_owner = NULL;
	pthread_mutex_unlock(&rig->mutex);
}

/* --- the rig --- */

struct hv_config rig_config(struct rig *rig)
{
	return (struct hv_config){.vp_count = RIG_VPS,
				  .tsc_hz = RIG_TSC_HZ,
				  .apic_hz = RIG_APIC_HZ,
				  .synthetic_timers = true,
				  .tsc_invariant = true,
				  .services = {
					  .ctx = rig,
					  .guest_tsc = guest_tsc,
					  .ram = ram,
					  .ram_written = ram_written,
					  .interrupt = interrupt,
					  .arm_timer = arm_timer,
					  .write_hypercall_page = write_hypercall_page,
					  .get_xmm = get_xmm,
					  .post_message = post_message,
					  .signal_event = signal_event,
					  .synic_ready = synic_ready,
					  .flush_tlb = flush_tlb,
					  .crash = crash,
					  .reset = reset,
					  .yield = yield,
					  .lock = lock,
					  .unlock = unlock,
				  }};
}

struct rig *rig_alloc(void)
{
	struct rig *rig = aligned_alloc(4096, ALIGN_UP(sizeof(*rig), 4096));

	CHECK(rig);
	memset(rig, 0, sizeof(*rig));
	pthread_mutex_init(&rig->mutex, NULL);
	atomic_store(&rig->tsc, 123456789);
	return rig;
}

void rig_start(struct rig *rig, const struct hv_config *config)
{
	CHECK(!hv_new(config, &rig->hv));
}

struct rig *rig_new(void)
{
	struct rig *rig = rig_alloc();
	const struct hv_config config = rig_config(rig);

	rig_start(rig, &config);
	return rig;
}

void rig_free(struct rig *rig)
{
	if (!rig->quiet)
		rig_check_announced(rig);
	hv_free(rig->hv);
	pthread_mutex_destroy(&rig->mutex);
	free(rig);
}

/* By pages, for most of them were not touched. */
void rig_check_announced(struct rig *rig)
{
	for (size_t page = 0; page < RIG_RAM_BYTES; page += PAGE_BYTES) {
		if (!memcmp(rig->ram + page, rig->shadow + page, PAGE_BYTES))
			continue;
		for (size_t i = page; i < page + PAGE_BYTES; i++)
			CHECK(rig->announced[i] || rig->ram[i] == rig->shadow[i]);
		memcpy(rig->shadow + page, rig->ram + page, PAGE_BYTES);
	}
	memset(rig->announced, 0, sizeof(rig->announced));
}

void rig_put(struct rig *rig, gpa_t gpa, const void *bytes, size_t count)
{
	void *at = ram(rig, gpa, count);

	CHECK(at);
	rig_check_announced(rig);
	memcpy(at, bytes, count);
	memcpy(rig->shadow + (gpa - RIG_RAM), bytes, count);
}

void *rig_at(struct rig *rig, gpa_t gpa)
{
	void *at = ram(rig, gpa, 1);

	CHECK(at);
	return at;
}

uint64_t rig_read(struct rig *rig, unsigned int vp, uint32_t msr)
{
	uint64_t value;

	CHECK(hv_read_msr(rig->hv, vp, msr, &value));
	return value;
}

void rig_write(struct rig *rig, unsigned int vp, uint32_t msr, uint64_t value)
{
	CHECK(hv_write_msr(rig->hv, vp, msr, value, true));
}

bool rig_write_faults(struct rig *rig, unsigned int vp, uint32_t msr, uint64_t value)
{
	return !hv_write_msr(rig->hv, vp, msr, value, true);
}

uint64_t rig_call(struct rig *rig, unsigned int vp, uint64_t control, uint64_t rdx, uint64_t r8)
{
	struct hv_hypercall_registers registers = {
		.long_mode = true, .rcx = control, .rdx = rdx, .r8 = r8};

	CHECK(hv_hypercall(rig->hv, vp, &registers));
	CHECK(registers.rcx == control && registers.rdx == rdx && registers.r8 == r8);
	return registers.rax;
}

void rig_enable_synic(struct rig *rig, unsigned int vp)
{
	rig_write(rig, vp, HV_MSR_SIMP, RIG_PAGE(2 * vp) | HV_PAGE_ENABLE);
	rig_write(rig, vp, HV_MSR_SIEFP, RIG_PAGE(2 * vp + 1) | HV_PAGE_ENABLE);
	rig_write(rig, vp, HV_MSR_SINT0 + RIG_SINT, RIG_VECTOR);
	rig_write(rig, vp, HV_MSR_SCONTROL, HV_SCONTROL_ENABLE);
}

struct hv_message *rig_slot(struct rig *rig, unsigned int vp, unsigned int sint)
{
	return rig_at(rig, RIG_PAGE(2 * vp) + sint * sizeof(struct hv_message));
}

static bool next_timer(struct rig *rig, unsigned int *ret_vp, unsigned int *ret_timer)
{
	uint64_t first = 0;

	for (unsigned int vp = 0; vp < RIG_VPS; vp++) {
		for (unsigned int timer = 0; timer < HV_STIMERS; timer++) {
			uint64_t due = rig->due_100ns[vp][timer];

			if (!due || (first && due >= first))
				continue;
			first = due;
			*ret_vp = vp;
			*ret_timer = timer;
		}
	}
	return first;
}

/* Rounding may make a call come early: the timer is armed again then, and called again. */
void rig_advance(struct rig *rig, uint64_t by_100ns)
{
	const uint64_t ticks = RIG_TSC_HZ / HV_REFERENCE_HZ;
	uint64_t left = by_100ns * ticks, now, due, wait;
	unsigned int vp, timer;

	while (next_timer(rig, &vp, &timer)) {
		now = hv_reference_time(rig->hv);
		due = rig->due_100ns[vp][timer];
		wait = due > now ? due - now : 0;
		if (wait > left / ticks)
			break;
		left -= wait * ticks;
		atomic_fetch_add(&rig->tsc, wait * ticks);
		rig->due_100ns[vp][timer] = 0;
		hv_timer_expired(rig->hv, vp, timer);
	}
	atomic_fetch_add(&rig->tsc, left);
}
