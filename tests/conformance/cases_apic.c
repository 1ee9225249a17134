/*
 * cases_apic.c - interrupts: messages, local APIC, IPIs, VP start, timer, 8259, NMI, level EOI
 */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "rig.h"

#define CASE(name, vps, not_emulated) bool case_##name(struct rig *rig);
#include "cases.h"
#undef CASE

PAYLOAD(halt_once)
PAYLOAD(x2apic_self)
PAYLOAD(xapic_self)
PAYLOAD(ipi_send)
PAYLOAD(ipi_receive)
PAYLOAD(init_sipi)
PAYLOAD(real)
PAYLOAD(to_long)
PAYLOAD(tsc_deadline)
PAYLOAD(periodic)
PAYLOAD(extint)
PAYLOAD(extint_halted)
PAYLOAD(nmi)
PAYLOAD(level)
PAYLOAD(report_tsc)
PAYLOAD(stopped_deadline)
PAYLOAD(stopped_count)

#define MSI_ADDRESS 0xfee00000u
#define MSI_LEVEL   0xc000u

static bool send_msi(struct rig *rig, uint32_t data)
{
	struct msi msi = {.address = MSI_ADDRESS, .data = data};

	return rig_ok(rig, "partition_send_msi", partition_send_msi(rig->part, &msi));
}

/* Counts of vectors 0x40 to 0x43, as REPORT_COUNTS reports them. */
static bool counts(struct rig *rig, unsigned int vp, uint32_t c40, uint32_t c41, uint32_t c42,
		   uint32_t c43)
{
	return rig_vp_report(rig, vp, c40) && rig_vp_report(rig, vp, c41) &&
	       rig_vp_report(rig, vp, c42) && rig_vp_report(rig, vp, c43);
}

/* Does @action from this thread while VP 0 sits in its HLT on another. */
static bool wake(struct rig *rig, bool (*action)(struct rig *rig))
{
	struct runner runner;

	TRY(rig_pio_write(rig, 0x80, 1, rig->exit[0].pio.data & 0xff) ||
	    rig->exit[0].reason == VP_EXIT_PIO);
	TRY(runner_start(&runner, rig, 0));
	runner_wait_asleep(&runner);
	TRY(action(rig));
	return runner_join(&runner);
}

/* The report that ended wake(). */
static bool woke_with(struct rig *rig, uint32_t value)
{
	const struct vp_exit *exit = &rig->exit[0];

	TRY(EXPECT_EQ(rig, "exit reason after the wake", exit->reason, VP_EXIT_PIO));
	TRY(EXPECT_EQ(rig, "port after the wake", exit->pio.port, PORT_REPORT));
	return EXPECT_EQ(rig, "report after the wake", exit->pio.data, value);
}

static bool message_0x40(struct rig *rig)
{
	return send_msi(rig, 0x40);
}

bool case_msi_wakes_from_hlt(struct rig *rig)
{
	TRY(rig_start(rig, 0, halt_once));
	TRY(wake(rig, message_0x40));
	TRY(woke_with(rig, 1));
	TRY(rig_report(rig, 0) && rig_report(rig, 0) && rig_report(rig, 0));
	return rig_done(rig);
}

bool case_x2apic_self_ipi_and_priority(struct rig *rig)
{
	TRY(rig_start(rig, 0, x2apic_self));
	TRY(rig_report(rig, 0)); /* 0x42 waits for STI */
	TRY(counts(rig, 0, 1, 1, 1, 0));
	TRY(rig_report(rig, 0)); /* APIC id */
	TRY(rig_report(rig, 0)); /* 0x43 waits for the TPR */
	TRY(rig_report(rig, 1));
	return rig_done(rig);
}

bool case_xapic_self_ipi(struct rig *rig)
{
	TRY(rig_start(rig, 0, xapic_self));
	TRY(counts(rig, 0, 1, 0, 0, 0));
	TRY(rig_report(rig, 0)); /* id */
	TRY(rig_run(rig, 0));
	if (rig->exit[0].reason != VP_EXIT_PIO || (rig->exit[0].pio.data & 0xf0) != 0x10)
		return rig_fail(rig, "the local APIC's version is %#x", rig->exit[0].pio.data);
	return rig_done(rig);
}

bool case_ipis_between_two_vps(struct rig *rig)
{
	struct runner receiver;

	TRY(rig_start(rig, 0, ipi_send));
	TRY(rig_start(rig, 1, ipi_receive));
	TRY(runner_start(&receiver, rig, 1));
	TRY(rig_done(rig));
	TRY(runner_join(&receiver));
	TRY(EXPECT_EQ(rig, "first report of the receiver", rig->exit[1].pio.data, 1));
	TRY(rig_vp_report(rig, 1, 1) && rig_vp_report(rig, 1, 0) && rig_vp_report(rig, 1, 0));
	return rig_vp_done(rig, 1);
}

bool case_init_and_sipi_start_a_vp_in_real_mode(struct rig *rig)
{
	struct runner started;

	TRY(rig_start(rig, 0, init_sipi));
	rig_place(rig, SIPI_AT, real);
	TRY(runner_start(&started, rig, 1));
	TRY(rig_done(rig));
	TRY(runner_join(&started));
	TRY(EXPECT_EQ(rig, "exit reason", rig->exit[1].reason, VP_EXIT_PIO));
	TRY(EXPECT_EQ(rig, "code segment", rig->exit[1].pio.data, SIPI_VECTOR << 8));
	TRY(rig_vp_report(rig, 1, 0x600d600d));
	TRY(rig_vp_report(rig, 1, 2)); /* 16-bit addition wraps */
	return rig_vp_done(rig, 1);
}

bool case_started_vp_goes_to_long_mode(struct rig *rig)
{
	struct runner started;

	TRY(rig_start(rig, 0, init_sipi));
	rig_place(rig, SIPI_AT, to_long);
	TRY(runner_start(&started, rig, 1));
	TRY(rig_done(rig));
	TRY(runner_join(&started));
	TRY(EXPECT_EQ(rig, "exit reason", rig->exit[1].reason, VP_EXIT_PIO));
	TRY(EXPECT_EQ(rig, "report from 32-bit mode", rig->exit[1].pio.data, 0x32323232));
	TRY(rig_vp_report(rig, 1, 0x64646464));
	TRY(rig_vp_report(rig, 1, 0xd00)); /* LME, LMA, NXE */
	return rig_vp_done(rig, 1);
}

bool case_tsc_deadline_timer_fires(struct rig *rig)
{
	TRY(rig_start(rig, 0, tsc_deadline));
	TRY(rig_report(rig, 1));
	TRY(rig_report(rig, 1));
	TRY(rig_report(rig, 0));
	TRY(counts(rig, 0, 1, 0, 0, 0));
	return rig_done(rig);
}

bool case_periodic_timer_keeps_firing(struct rig *rig)
{
	TRY(rig_start(rig, 0, periodic));
	return rig_done(rig);
}

bool case_extint_waits_for_interrupts_on(struct rig *rig)
{
	TRY(rig_start(rig, 0, extint));
	TRY(rig_report(rig, 0));
	rig->extint_vector = 0x40;
	partition_set_extint(rig->part, true);
	TRY(rig_report(rig, 0));
	TRY(EXPECT_EQ(rig, "acknowledge cycles with interrupts off", rig->acknowledged, 0));
	TRY(rig_report(rig, 1));
	TRY(EXPECT_EQ(rig, "acknowledge cycles", rig->acknowledged, 1));
	return rig_done(rig);
}

static bool raise_extint(struct rig *rig)
{
	rig->extint_vector = 0x40;
	return rig_ok(rig, "partition_set_extint", partition_set_extint(rig->part, true));
}

bool case_extint_wakes_from_hlt(struct rig *rig)
{
	TRY(rig_start(rig, 0, extint_halted));
	TRY(wake(rig, raise_extint));
	TRY(woke_with(rig, 1));
	return rig_done(rig);
}

static bool inject_nmi(struct rig *rig)
{
	return rig_ok(rig, "partition_inject_nmi", partition_inject_nmi(rig->vp[0]));
}

bool case_nmi_wakes_with_interrupts_off(struct rig *rig)
{
	TRY(rig_start(rig, 0, nmi));
	TRY(wake(rig, inject_nmi));
	TRY(woke_with(rig, 1));
	return rig_done(rig);
}

bool case_level_interrupts_report_their_end(struct rig *rig)
{
	const struct msi routes[] = {
		{0},
		{.address = MSI_ADDRESS, .data = 0x41 | MSI_LEVEL},
		{.address = MSI_ADDRESS, .data = 0x42},
	};

	TRY(rig_ok(rig, "partition_set_ioapic_routes",
		   partition_set_ioapic_routes(rig->part, routes, ARRAY_SIZE(routes))));
	TRY(rig_start(rig, 0, level));
	TRY(rig_pio_write(rig, 0x80, 1, rig->exit[0].pio.data) ||
	    rig->exit[0].reason == VP_EXIT_PIO);
	TRY(send_msi(rig, 0x41 | MSI_LEVEL));
	TRY(rig_expect_reason(rig, 0, VP_EXIT_EOI));
	TRY(EXPECT_EQ(rig, "vector", rig->exit[0].eoi.vector, 0x41));
	TRY(rig_expect_reason(rig, 0, VP_EXIT_PIO));
	TRY(send_msi(rig, 0x42)); /* an edge has no end to report */
	TRY(counts(rig, 0, 0, 1, 1, 0));
	return rig_done(rig);
}

/* --- stopped time --- */

#define LAPIC_CURRENT_COUNT 0x390
/* What two clocks, or one read from two places, may disagree by: far less than what is stopped. */
#define SLACK_TSC 20000000

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The state of VP 0 before and after the host's clocks went on for both bounds. */
static bool stop_for(struct rig *rig, uint64_t ticks, uint64_t ns, struct vp_state states[2])
{
	uint64_t tsc = __builtin_ia32_rdtsc(), start_ns = now_ns();

	TRY(rig_ok(rig, "partition_stop_time", partition_stop_time(rig->part)));
	TRY(rig_ok(rig, "vp_get_state", vp_get_state(rig->vp[0], &states[0])));
	while (__builtin_ia32_rdtsc() - tsc < ticks || now_ns() - start_ns < ns)
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	return rig_ok(rig, "vp_get_state", vp_get_state(rig->vp[0], &states[1]));
}

static bool reported_tsc(struct rig *rig, unsigned int vp, uint64_t *ret_tsc)
{
	uint64_t tsc = 0;

	for (unsigned int i = 0; i < 2; i++) {
		TRY(rig_run(rig, vp));
		TRY(EXPECT_EQ(rig, "exit reason", rig->exit[vp].reason, VP_EXIT_PIO));
		tsc = tsc << 32 | rig->exit[vp].pio.data;
	}
	*ret_tsc = tsc;
	return true;
}

/* The VP's TSC goes on from @stopped: no further than the host's since it was @started. */
static bool goes_on_from(struct rig *rig, unsigned int vp, uint64_t stopped, uint64_t started)
{
	uint64_t tsc, passed;

	TRY(reported_tsc(rig, vp, &tsc));
	passed = __builtin_ia32_rdtsc() - started;
	if (tsc + SLACK_TSC < stopped)
		return rig_fail(rig, "the TSC of VP %u went back by %" PRIu64, vp,
				(uint64_t)(stopped - tsc));
	if (tsc > stopped + passed + SLACK_TSC)
		return rig_fail(rig,
				"the TSC of VP %u went on by %" PRIu64
				" while the host's did by %" PRIu64,
				vp, (uint64_t)(tsc - stopped), passed);
	return true;
}

bool case_tsc_and_deadline_stand_still_while_time_is_stopped(struct rig *rig)
{
	struct vp_state states[2], other;
	uint64_t started;

	TRY(rig_start(rig, 1, report_tsc));
	TRY(reported_tsc(rig, 1, &started));
	TRY(rig_start(rig, 0, stopped_deadline));
	TRY(rig_expect_reason(rig, 0, VP_EXIT_PIO));
	TRY(stop_for(rig, 2ull * STOPPED_DEADLINE_TSC, 0, states));
	TRY(EXPECT_EQ(rig, "TSC while stopped", states[1].tsc, states[0].tsc));
	TRY(EXPECT_EQ(rig, "deadline while stopped", states[1].tsc_deadline,
		      states[0].tsc_deadline));
	TRY(rig_ok(rig, "vp_get_state", vp_get_state(rig->vp[1], &other)));
	started = __builtin_ia32_rdtsc();
	TRY(rig_ok(rig, "partition_start_time", partition_start_time(rig->part)));
	TRY(goes_on_from(rig, 0, states[0].tsc, started));
	TRY(goes_on_from(rig, 1, other.tsc, started));
	TRY(rig_report(rig, 1)); /* not early */
	TRY(counts(rig, 0, 1, 0, 0, 0));
	return rig_done(rig);
}

bool case_timer_counts_stand_still_while_time_is_stopped(struct rig *rig)
{
	struct vp_state states[2];
	uint64_t started_ns, left, went_on;

	TRY(rig_start(rig, 0, stopped_count));
	TRY(rig_expect_reason(rig, 0, VP_EXIT_PIO));
	TRY(stop_for(rig, 0, 2ull * STOPPED_COUNT, states));
	left = *(const uint32_t *)(states[0].lapic + LAPIC_CURRENT_COUNT);
	TRY(EXPECT_EQ(rig, "count while stopped",
		      *(const uint32_t *)(states[1].lapic + LAPIC_CURRENT_COUNT), left));
	started_ns = now_ns();
	TRY(rig_ok(rig, "partition_start_time", partition_start_time(rig->part)));
	TRY(counts(rig, 0, 1, 0, 0, 0));
	went_on = now_ns() - started_ns;
	/* A nanosecond a count; the host's two clocks may differ a little. */
	if (went_on < left - left / 10)
		return rig_fail(rig, "%" PRIu64 " ns were left, and it expired after %" PRIu64,
				left, went_on);
	return rig_done(rig);
}

bool case_interrupts_sent_while_time_is_stopped_are_kept(struct rig *rig)
{
	TRY(rig_start(rig, 0, stopped_count));
	TRY(rig_expect_reason(rig, 0, VP_EXIT_PIO));
	TRY(rig_ok(rig, "partition_stop_time", partition_stop_time(rig->part)));
	TRY(send_msi(rig, 0x41));
	TRY(rig_ok(rig, "partition_start_time", partition_start_time(rig->part)));
	TRY(rig_run(rig, 0)); /* it wakes at once, or on a slow machine with the timer's too */
	TRY(rig_report(rig, 1));
	TRY(rig_report(rig, 0) && rig_report(rig, 0));
	return rig_done(rig);
}
