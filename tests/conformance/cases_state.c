/*
 * cases_state.c - saved and restored VP state; runs cancelled from other threads
 */
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "rig.h"

#define CASE(name, vps, not_emulated) bool case_##name(struct rig *rig);
#include "cases.h"
#undef CASE

PAYLOAD(compute)
PAYLOAD(spin)
PAYLOAD(spin_chained)
PAYLOAD(halt)
PAYLOAD(string_in)
PAYLOAD(halt_once)

#define FIELD(member)                                                                              \
	{                                                                                          \
#member, offsetof(struct vp_state, member), sizeof(((struct vp_state *)0)->member) \
	}

/* What a fresh VP must give back as it was set. Time goes on, so the counters are not here. */
static const struct {
	const char *name;
	size_t offset, bytes;
} fields[] = {
	FIELD(regs),
	FIELD(segment[VP_CS]),
	FIELD(segment[VP_SS]),
	FIELD(segment[VP_FS].base),
	FIELD(segment[VP_GS].base),
	FIELD(segment[VP_TR]),
	FIELD(gdtr.base),
	FIELD(gdtr.limit),
	FIELD(idtr.base),
	FIELD(idtr.limit),
	FIELD(cr0),
	FIELD(cr2),
	FIELD(cr3),
	FIELD(cr4),
	FIELD(cr8),
	FIELD(efer),
	FIELD(xcr0),
	FIELD(dr),
	FIELD(dr6),
	FIELD(dr7),
	FIELD(apic_base),
	FIELD(star),
	FIELD(lstar),
	FIELD(cstar),
	FIELD(sfmask),
	FIELD(kernel_gs_base),
	FIELD(sysenter_cs),
	FIELD(sysenter_esp),
	FIELD(sysenter_eip),
	FIELD(pat),
	FIELD(tsc_aux),
	FIELD(mtrr_def_type),
	FIELD(mtrr_fixed),
	FIELD(mtrr_base),
	FIELD(mtrr_mask),
	FIELD(activity),
	FIELD(nmi_pending),
	FIELD(nmi_masked),
};

#define XMM_OFFSET 160
#define XMM_BYTES  256
/* Local APIC registers that stand still: id, TPR, LDR, DFR, SVR, ISR to IRR, LVT. */
static const uint16_t lapic_still[] = {
	0x20,  0x80,  0xd0,  0xf0,  0x100, 0x110, 0x170, 0x200,
	0x210, 0x270, 0x320, 0x350, 0x360, 0x370, 0x3e0,
};

static bool same_state(struct rig *rig, const struct vp_state *a, const struct vp_state *b)
{
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (memcmp((const char *)a + fields[i].offset, (const char *)b + fields[i].offset,
			   fields[i].bytes))
			return rig_fail(rig, "%s differs: %#" PRIx64 " was set, %#" PRIx64 " read",
					fields[i].name,
					*(const uint64_t *)((const char *)a + fields[i].offset),
					*(const uint64_t *)((const char *)b + fields[i].offset));
	if (memcmp(a->xsave + XMM_OFFSET, b->xsave + XMM_OFFSET, XMM_BYTES))
		return rig_fail(rig, "the XMM registers differ");
	for (size_t i = 0; i < ARRAY_SIZE(lapic_still); i++)
		if (memcmp(a->lapic + lapic_still[i], b->lapic + lapic_still[i], 4))
			return rig_fail(rig, "local APIC register %#x differs", lapic_still[i]);
	return true;
}

static void fill_state(struct vp_state *state)
{
	for (unsigned int i = 0; i < VP_GPR_COUNT; i++)
		if (i != VP_RSP)
			state->regs.gpr[i] = 0x0101010101010101ull * (i + 1);
	state->regs.rflags = 0x8d7;
	state->cr2 = 0x123456789000;
	state->star = 0x0023001000000000;
	state->lstar = 0xffffffff81000000;
	state->cstar = 0xffffffff82000000;
	state->sfmask = 0x47700;
	state->kernel_gs_base = 0xffff888000000000;
	state->segment[VP_FS].base = 0x7f0000001000;
	state->segment[VP_GS].base = 0xffff888012345000;
	state->sysenter_cs = 0x10; /* AMD keeps 32 bits of the others */
	state->sysenter_esp = 0x83000000;
	state->sysenter_eip = 0x84000000;
	state->dr[0] = 0x401000;
	state->dr[3] = 0x402000;
	state->mtrr_def_type = 0xc06;
	state->mtrr_fixed[0] = 0x0606060606060606;
	state->mtrr_base[0] = 0xc0000000;
	state->mtrr_mask[0] = 0xfc0000800;
	state->pat = 0x0007010600070106;
	for (unsigned int i = 0; i < XMM_BYTES; i++)
		state->xsave[XMM_OFFSET + i] = (uint8_t)(i * 3 + 1);
	state->xsave[512] |= 3; /* XSTATE_BV: x87 and SSE are in use */
	state->lapic[0xf1] = 1; /* software enable */
	state->lapic[0xf0] = 0xff;
}

bool case_state_reads_back_as_set(struct rig *rig)
{
	struct vp_state set, read;

	TRY(rig_start(rig, 0, spin));
	TRY(rig_ok(rig, "vp_get_state", vp_get_state(rig->vp[0], &set)));
	fill_state(&set);
	TRY(rig_ok(rig, "vp_set_state", vp_set_state(rig->vp[0], &set)));
	TRY(rig_ok(rig, "vp_get_state", vp_get_state(rig->vp[0], &read)));
	TRY(same_state(rig, &set, &read));
	set.activity = VP_HALTED;
	set.nmi_masked = 1;
	TRY(rig_ok(rig, "vp_set_state", vp_set_state(rig->vp[0], &set)));
	TRY(rig_ok(rig, "vp_get_state", vp_get_state(rig->vp[0], &read)));
	return same_state(rig, &set, &read);
}

/* --- cancelling --- */

static void sleep_us(unsigned int us)
{
	nanosleep(&(struct timespec){.tv_nsec = (long)us * 1000}, NULL);
}

struct canceller {
	struct vp *vp;
	unsigned int delay_us;
	const volatile uint8_t *moved; /* not before this byte is nonzero, if given */
	pthread_t thread;
};

static void *cancel_later(void *arg)
{
	struct canceller *canceller = arg;

	do {
		sleep_us(canceller->delay_us);
	} while (canceller->moved && !*canceller->moved);
	vp_cancel(canceller->vp);
	return NULL;
}

static bool run_cancelled(struct rig *rig, unsigned int index, unsigned int delay_us, gpa_t moved)
{
	struct canceller canceller = {.vp = rig->vp[index], .delay_us = delay_us};

	canceller.moved = moved ? rig->memory.base + moved : NULL;
	TRY(rig_ok(rig, "pthread_create",
		   -pthread_create(&canceller.thread, NULL, cancel_later, &canceller)));
	TRY(rig_expect_reason(rig, index, VP_EXIT_CANCELLED));
	pthread_join(canceller.thread, NULL);
	return true;
}

/* Both reports of the rest of compute, as one value. */
static bool finish_compute(struct rig *rig, uint64_t *ret_result)
{
	uint32_t halves[2];

	for (unsigned int i = 0; i < 2; i++) {
		do {
			TRY(rig_run(rig, 0));
		} while (rig->exit[0].reason == VP_EXIT_CANCELLED);
		TRY(EXPECT_EQ(rig, "exit reason", rig->exit[0].reason, VP_EXIT_PIO));
		TRY(EXPECT_EQ(rig, "port", rig->exit[0].pio.port, PORT_REPORT));
		halves[i] = rig->exit[0].pio.data;
	}
	*ret_result = halves[0] | (uint64_t)halves[1] << 32;
	return rig_done(rig);
}

/* Continues rig's VP in a partition of its own. */
static bool finish_elsewhere(struct rig *rig, struct rig *other, uint64_t *ret_result)
{
	struct vp_state state, read;

	TRY(rig_new(other, rig->engine, 1));
	memcpy(other->memory.base, rig->memory.base, RAM_BYTES);
	TRY(rig_ok(other, "vp_get_state", vp_get_state(rig->vp[0], &state)));
	TRY(rig_ok(other, "vp_set_state", vp_set_state(other->vp[0], &state)));
	TRY(rig_ok(other, "vp_get_state", vp_get_state(other->vp[0], &read)));
	TRY(same_state(other, &state, &read));
	return finish_compute(other, ret_result);
}

#define ROUNDS_LEFT 20000

bool case_state_moves_to_a_fresh_partition(struct rig *rig)
{
	struct rig *other = calloc(1, sizeof(*other));
	uint64_t moved, stayed;

	if (!other)
		return rig_fail(rig, "no memory");
	TRY(rig_start(rig, 0, compute));
	TRY(run_cancelled(rig, 0, 1000, DATA_AT + 1));
	rig_put_u64(rig, DATA_AT + 8, rig_u32(rig, DATA_AT) + ROUNDS_LEFT);
	if (!finish_elsewhere(rig, other, &moved))
		return rig_fail(rig, "in the other partition: %.300s", other->why);
	TRY(finish_compute(rig, &stayed));
	rig_free(other);
	free(other);
	return EXPECT_EQ(rig, "result after the move", moved, stayed);
}

bool case_impossible_state_changes_nothing(struct rig *rig)
{
	struct vp_state good, bad, read;

	TRY(rig_start(rig, 0, spin));
	TRY(rig_ok(rig, "vp_get_state", vp_get_state(rig->vp[0], &good)));
	bad = good;
	bad.regs.gpr[VP_RAX] = 0xbad;
	bad.lstar = 0xbad000;
	bad.cr4 |= BIT(63);
	TRY(EXPECT_EQ(rig, "setting reserved bits of CR4", vp_set_state(rig->vp[0], &bad),
		      (uint64_t)-22));
	bad.cr4 = good.cr4;
	bad.xcr0 = 0;
	TRY(EXPECT_EQ(rig, "setting an empty XCR0", vp_set_state(rig->vp[0], &bad), (uint64_t)-22));
	TRY(rig_ok(rig, "vp_get_state", vp_get_state(rig->vp[0], &read)));
	return same_state(rig, &good, &read);
}

bool case_cancel_before_run_is_not_lost(struct rig *rig)
{
	TRY(rig_start(rig, 0, spin));
	vp_cancel(rig->vp[0]);
	TRY(rig_expect_reason(rig, 0, VP_EXIT_CANCELLED));
	TRY(EXPECT_EQ(rig, "loops done", rig_u64(rig, DATA_AT), 0));
	vp_cancel(rig->vp[0]);
	vp_cancel(rig->vp[0]);
	return rig_expect_reason(rig, 0, VP_EXIT_CANCELLED);
}

bool case_cancel_ends_a_tight_loop(struct rig *rig)
{
	TRY(rig_start(rig, 0, spin));
	TRY(run_cancelled(rig, 0, 1000, DATA_AT + 1)); /* 256 rounds */
	TRY(rig_start(rig, 0, spin_chained));
	return run_cancelled(rig, 0, 10000, 0);
}

bool case_cancel_ends_a_halt(struct rig *rig)
{
	TRY(rig_start(rig, 0, halt));
	TRY(run_cancelled(rig, 0, 20000, 0));
	return run_cancelled(rig, 0, 20000, 0);
}

bool case_cancel_ends_a_wait_for_sipi(struct rig *rig)
{
	struct vp_state state;

	TRY(run_cancelled(rig, 1, 20000, 0));
	TRY(rig_ok(rig, "vp_get_state", vp_get_state(rig->vp[1], &state)));
	return EXPECT_EQ(rig, "activity", state.activity, VP_WAIT_FOR_SIPI);
}

/* So many, or as many as a slow machine does in three seconds. */
#define CANCELS	       2000
#define CANCELS_FOR_NS 3000000000ull

struct ping_pong {
	struct rig *rig;
	_Atomic unsigned int seen;
	_Atomic bool over;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The next cancel comes when the last was seen, after a wait that moves over the run loop. */
static void *cancel_often(void *arg)
{
	struct ping_pong *game = arg;
	uint64_t end = now_ns() + CANCELS_FOR_NS;

	for (unsigned int i = 0; i < CANCELS; i++) {
		game->over = i == CANCELS - 1 || now_ns() > end;
		for (volatile unsigned int wait = 0; wait < i * 13 % 4096; wait++)
			;
		vp_cancel(game->rig->vp[0]);
		while (game->seen <= i)
			sched_yield();
		if (game->over)
			break;
	}
	return NULL;
}

/* A lost cancel hangs this case, and its time limit ends it. */
static bool play(struct rig *rig)
{
	struct ping_pong game = {.rig = rig};
	pthread_t thread;
	bool over = false;

	TRY(rig_ok(rig, "pthread_create", -pthread_create(&thread, NULL, cancel_often, &game)));
	while (!over) {
		TRY(rig_expect_reason(rig, 0, VP_EXIT_CANCELLED));
		over = game.over;
		game.seen++;
	}
	pthread_join(thread, NULL);
	return true;
}

bool case_cancels_at_any_moment_are_never_lost(struct rig *rig)
{
	TRY(rig_start(rig, 0, spin));
	TRY(play(rig));
	TRY(rig_start(rig, 0, halt));
	return play(rig);
}

bool case_cancel_completes_the_instruction(struct rig *rig)
{
	struct vp_state state;

	TRY(rig_start(rig, 0, string_in));
	TRY(rig_pio_read(rig, 0x3f8, 2, 0xa100));
	vp_cancel(rig->vp[0]);
	for (unsigned int i = 1; i < 6; i++) {
		TRY(rig_run(rig, 0));
		if (rig->exit[0].reason == VP_EXIT_CANCELLED)
			break;
		rig->exit[0].pio.data = 0xa100 + i;
	}
	TRY(EXPECT_EQ(rig, "exit reason", rig->exit[0].reason, VP_EXIT_CANCELLED));
	TRY(rig_ok(rig, "vp_get_state", vp_get_state(rig->vp[0], &state)));
	/* RDI, RCX and memory agree on how many words were read */
	TRY(EXPECT_EQ(rig, "words by RDI and by RCX",
		      (state.regs.gpr[VP_RDI] - DATA_AT - 0xffd) / 2, 5 - state.regs.gpr[VP_RCX]));
	for (uint64_t i = 0; i < 5 - state.regs.gpr[VP_RCX]; i++)
		TRY(EXPECT_EQ(rig, "word read", rig_u32(rig, DATA_AT + 0xffd + 2 * i) & 0xffff,
			      0xa100 + i));
	return true;
}
