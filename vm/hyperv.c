/*
 * hyperv.c - binds hv and vmbus to a partition: services for hv, exits to hv, doors to vmbus
 *
 * A VP's MSR and hypercall exits go to hv on the VP's thread. What hv says to the bus is only
 * queued there. Signals for open channels do not come here at all: the hypercall page's code
 * writes the connection's number to a port that is bound to the channel's eventfd.
 *
 * Time: the guest's TSC is the host's plus an offset that is the same for all VPs, so any thread
 * can tell the reference time; while time is stopped, that TSC stands still. Synthetic timers are
 * timers of the loop; they may ring early by the drift between CLOCK_MONOTONIC and the TSC, and hv
 * asks again then. The TSC is not offered as invariant, because the machine may move to a host with
 * another rate: the guest's clock is the reference TSC page.
 */
#include "hyperv.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv_tlfs.h"

#define RIP_MASK	   (PAGE_BYTES - 1)
#define XSAVE_XMM0	   160	   /* in the legacy part of the XSAVE area */
#define OUT_BYTES	   2	   /* of `out imm8, al` */
#define LONGEST_WAIT_100NS BIT(53) /* 28 years; a deadline in ns does not overflow with it */

struct hyperv {
	struct partition *part;
	struct loop *loop;
	struct hyperv_events events;
	_Atomic uint64_t tsc_offset;  /* the guest's TSC minus the host's */
	_Atomic uint64_t stopped_tsc; /* the guest's TSC while time is stopped; 0: it runs */
	pthread_mutex_t lock; /* hv's */
	struct hv *hv;
	struct vmbus *bus;
	struct ic *ic;
	struct controllers controllers;
	size_t out_at[2]; /* of the hypercall page's code, without and with long mode */
	struct timer {
		struct hyperv *hyperv;
		struct loop_timer *loop_timer;
		unsigned int vp, number;
	} timers[PARTITION_MAX_VPS][HV_STIMERS];
	bool quiet; /* vmbus_reset() is done */
};

/* --- services for hv --- */

static uint64_t guest_tsc(void *ctx)
{
	struct hyperv *hyperv = ctx;
	uint64_t stopped = hyperv->stopped_tsc;

	return stopped ? stopped : __builtin_ia32_rdtsc() + hyperv->tsc_offset;
}

static void *ram(void *ctx, gpa_t gpa, uint64_t bytes)
{
	struct hyperv *hyperv = ctx;

	return partition_ram_hva(hyperv->part, gpa, bytes);
}

static void ram_written(void *ctx, gpa_t gpa, uint64_t bytes)
{
	struct hyperv *hyperv = ctx;

	partition_memory_written(hyperv->part, gpa, bytes);
}

static void interrupt(void *ctx, unsigned int vp, uint8_t vector)
{
	struct hyperv *hyperv = ctx;
	const struct msi msi = {.address = 0xfee00000 | vp << 12, .data = vector};

	partition_send_msi(hyperv->part, &msi);
}

/* While time is stopped none is due; hv asks for all again when it runs. */
static void arm_timer(void *ctx, unsigned int vp, unsigned int number, uint64_t due_100ns)
{
	struct hyperv *hyperv = ctx;
	struct loop_timer *timer = hyperv->timers[vp][number].loop_timer;
	uint64_t now_100ns = hv_reference_time(hyperv->hv);
	uint64_t wait_100ns = due_100ns > now_100ns ? due_100ns - now_100ns : 0;

	if (due_100ns && !hyperv->stopped_tsc)
		loop_timer_arm_ns(timer, monotonic_ns() + MIN(wait_100ns, LONGEST_WAIT_100NS) * 100);
	else
		loop_timer_cancel(timer);
}

static void timer_expired(void *ctx)
{
	struct timer *timer = ctx;

	hv_timer_expired(timer->hyperv->hv, timer->vp, timer->number);
}

static void write_hypercall_page(void *ctx, bool long_mode, uint8_t page[4096])
{
	struct hyperv *hyperv = ctx;
	uint8_t code[PARTITION_HYPERCALL_CODE_BYTES];
	size_t bytes = partition_write_hypercall_code(hyperv->part, long_mode, code,
						      &hyperv->out_at[long_mode]);

	memset(page, 0xcc, PAGE_BYTES);
	memcpy(page, code, bytes);
}

static int get_xmm(void *ctx, unsigned int vp, uint8_t xmm[6][16])
{
	struct hyperv *hyperv = ctx;
	struct vp_state *state = malloc(sizeof(*state));
	int r = state ? vp_get_state(hyperv->part->vps[vp], state) : -ENOMEM;

	if (!r)
		memcpy(xmm, state->xsave + XSAVE_XMM0, 6 * 16);
	free(state);
	return r;
}

static uint16_t post_message(void *ctx, uint32_t connection_id, const void *payload,
			     uint32_t bytes)
{
	struct hyperv *hyperv = ctx;

	return vmbus_post_message(hyperv->bus, connection_id, payload, bytes);
}

static uint16_t signal_event(void *ctx, uint32_t connection_id, uint16_t flag)
{
	struct hyperv *hyperv = ctx;

	return vmbus_signal_event(hyperv->bus, connection_id, flag);
}

static void synic_ready(void *ctx)
{
	struct hyperv *hyperv = ctx;

	vmbus_synic_ready(hyperv->bus);
}

static int flush_tlb(void *ctx, unsigned int vp, uint64_t vp_mask)
{
	struct hyperv *hyperv = ctx;

	return partition_flush_tlb(hyperv->part, hyperv->part->vps[vp], vp_mask);
}

static void crash(void *ctx, const struct hv_crash *crash)
{
	struct hyperv *hyperv = ctx;

	hyperv->events.crash(hyperv->events.ctx, crash);
}

static void reset(void *ctx)
{
	struct hyperv *hyperv = ctx;

	hyperv->events.reset(hyperv->events.ctx);
}

static void yield(void *ctx)
{
	sched_yield();
}

static void lock(void *ctx)
{
	struct hyperv *hyperv = ctx;

	pthread_mutex_lock(&hyperv->lock);
}

static void unlock(void *ctx)
{
	struct hyperv *hyperv = ctx;

	pthread_mutex_unlock(&hyperv->lock);
}

bool hyperv_apic_msrs_are_engines(const struct engine *engine)
{
	return engine->ops->has_hyperv_apic_msrs && engine->ops->has_hyperv_apic_msrs();
}

/*
 * What the interface offers depends on what the engine can: an engine that flushes TLBs for the
 * guest is one whose exits are function calls, and there the timers are worth offering too. With
 * hardware virtualization the local APIC's timer, in the kernel, is the better one.
 */
static struct hv_config make_config(const struct engine *engine, unsigned int vp_count,
				    struct hyperv *hyperv)
{
	bool can_flush = engine_can_flush_tlb(engine);

	return (struct hv_config){
		.vp_count = vp_count,
		.synthetic_timers = can_flush,
		.apic_msrs = hyperv_apic_msrs_are_engines(engine),
		.services = {
			.ctx = hyperv,
			.guest_tsc = guest_tsc,
			.ram = ram,
			.ram_written = ram_written,
			.interrupt = interrupt,
			.arm_timer = arm_timer,
			.write_hypercall_page = write_hypercall_page,
			.get_xmm = can_flush ? get_xmm : NULL,
			.post_message = post_message,
			.signal_event = signal_event,
			.synic_ready = synic_ready,
			.flush_tlb = can_flush ? flush_tlb : NULL,
			.crash = crash,
			.reset = reset,
			.yield = yield,
			.lock = lock,
			.unlock = unlock,
		}};
}

size_t hyperv_cpuid(const struct engine *engine, unsigned int vp_count,
		    struct cpuid_leaf leaves[HV_CPUID_LEAVES])
{
	const struct hv_config config = make_config(engine, vp_count, NULL);

	return hv_cpuid(&config, leaves);
}

/* --- exits --- */

static bool in_long_mode(struct vp *vp)
{
	struct vp_mode mode;

	return !vp_get_mode(vp, &mode) && mode.long_mode;
}

void hyperv_msr(struct hyperv *hyperv, struct vp *vp, struct vp_exit *exit)
{
	if (exit->msr.write)
		exit->msr.fault = !hv_write_msr(
			hyperv->hv, vp->index, exit->msr.index, exit->msr.data,
			exit->msr.index == HV_MSR_HYPERCALL && in_long_mode(vp));
	else
		exit->msr.fault = !hv_read_msr(hyperv->hv, vp->index, exit->msr.index,
					       &exit->msr.data);
}

/* RIP is at the instruction, or behind it. */
static bool is_at_hypercall(const struct hyperv *hyperv, const struct vp_regs *regs,
			    const struct vp_mode *mode)
{
	uint64_t at = regs->rip & RIP_MASK, out_at = hyperv->out_at[mode->long_mode];

	return !mode->cpl && mode->protected_mode && out_at &&
	       (at == out_at || at == out_at + OUT_BYTES);
}

bool hyperv_hypercall(struct hyperv *hyperv, struct vp *vp)
{
	struct hv_hypercall_registers registers;
	struct vp_regs regs;
	struct vp_mode mode;

	if (vp_get_regs(vp, &regs) || vp_get_mode(vp, &mode) ||
	    !is_at_hypercall(hyperv, &regs, &mode))
		return false;
	registers = (struct hv_hypercall_registers){
		.long_mode = mode.long_mode,
		.rax = regs.gpr[VP_RAX],
		.rbx = regs.gpr[VP_RBX],
		.rcx = regs.gpr[VP_RCX],
		.rdx = regs.gpr[VP_RDX],
		.rsi = regs.gpr[VP_RSI],
		.rdi = regs.gpr[VP_RDI],
		.r8 = regs.gpr[VP_R8],
	};
	/* The #UD for input in XMM registers that was never offered is a status here. */
	if (!hv_hypercall(hyperv->hv, vp->index, &registers))
		registers.rax = HV_STATUS_INVALID_HYPERCALL_INPUT;
	regs.gpr[VP_RAX] = registers.rax;
	regs.gpr[VP_RDX] = registers.rdx;
	vp_set_regs(vp, &regs);
	return true;
}

void hyperv_signal(struct hyperv *hyperv, uint32_t connection_id)
{
	vmbus_signal_event(hyperv->bus, connection_id, 0);
}

/* --- doorbells --- */

static struct doorbell signal_doorbell(uint32_t connection_id, int eventfd)
{
	return (struct doorbell){.space = DOORBELL_PIO,
				 .address = HYPERV_SIGNAL_PORT,
				 .bytes = 4,
				 .match = true,
				 .value = connection_id,
				 .eventfd = eventfd};
}

/* One that cannot be bound is no loss: the write exits, and hyperv_signal() does it. */
static void channel_opened(void *ctx, uint32_t connection_id, int eventfd)
{
	struct hyperv *hyperv = ctx;
	const struct doorbell bell = signal_doorbell(connection_id, eventfd);

	partition_add_doorbell(hyperv->part, &bell);
}

static void channel_closed(void *ctx, uint32_t connection_id, int eventfd)
{
	struct hyperv *hyperv = ctx;
	const struct doorbell bell = signal_doorbell(connection_id, eventfd);

	partition_remove_doorbell(hyperv->part, &bell);
}

/* --- the loop's thread --- */

static void disk_full(void *ctx, const char *path, bool full)
{
	struct hyperv *hyperv = ctx;

	hyperv->events.disk_full(hyperv->events.ctx, path, full);
}

struct controllers *hyperv_controllers(struct hyperv *hyperv)
{
	return &hyperv->controllers;
}

struct ic *hyperv_ic(struct hyperv *hyperv)
{
	return hyperv->ic;
}

void hyperv_get_status(struct hyperv *hyperv, uint64_t *ret_guest_os_id,
		       uint32_t *ret_vmbus_version)
{
	struct vmbus_status status;

	vmbus_get_status(hyperv->bus, &status);
	*ret_guest_os_id = hv_guest_os_id(hyperv->hv);
	*ret_vmbus_version = status.version;
}

/* --- stopped time --- */

void hyperv_stop_time(struct hyperv *hyperv)
{
	hyperv->stopped_tsc = guest_tsc(hyperv);
}

/* An engine that cannot stop the TSC, or not exactly, has let it jump. */
void hyperv_start_time(struct hyperv *hyperv)
{
	uint64_t now_100ns = hv_reference_time(hyperv->hv);
	struct partition_clocks clocks;

	if (!partition_get_clocks(hyperv->part, &clocks))
		hyperv->tsc_offset = clocks.tsc_offset;
	hyperv->stopped_tsc = 0;
	hv_set_reference_time(hyperv->hv, now_100ns);
	ic_sync_time(hyperv->ic, true);
}

/* --- the whole --- */

static int make_timers(struct hyperv *hyperv)
{
	for (unsigned int vp = 0; vp < hyperv->part->vp_count; vp++) {
		for (unsigned int i = 0; i < HV_STIMERS; i++) {
			struct timer *timer = &hyperv->timers[vp][i];
			int r;

			*timer = (struct timer){.hyperv = hyperv, .vp = vp, .number = i};
			r = loop_timer_new(hyperv->loop, timer_expired, timer, &timer->loop_timer);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int make_hv(struct hyperv *hyperv)
{
	struct partition *part = hyperv->part;
	struct hv_config config = make_config(part->engine, part->vp_count, hyperv);
	struct partition_clocks clocks;
	int r = partition_get_clocks(part, &clocks);

	if (r < 0)
		return r;
	hyperv->tsc_offset = clocks.tsc_offset;
	config.tsc_hz = clocks.tsc_hz;
	config.apic_hz = clocks.apic_hz;
	return hv_new(&config, &hyperv->hv);
}

static uint64_t reference_time(void *ctx)
{
	struct hyperv *hyperv = ctx;

	return hv_reference_time(hyperv->hv);
}

static int make_bus(struct hyperv *hyperv)
{
	const struct vmbus_config config = {
		.part = hyperv->part, .loop = hyperv->loop, .hv = hyperv->hv};
	const struct vmbus_doorbell_events events = {
		.opened = channel_opened, .closed = channel_closed, .ctx = hyperv};
	struct ic_config ic = {
		.loop = hyperv->loop, .reference_time = reference_time, .ctx = hyperv};
	int r = vmbus_new(&config, &hyperv->bus);

	if (r < 0)
		return r;
	vmbus_set_doorbell_events(hyperv->bus, &events);
	ic.bus = hyperv->bus;
	r = ic_new(&ic, &hyperv->ic);
	if (r < 0)
		return r;
	hyperv->controllers = (struct controllers){.bus = hyperv->bus,
						   .loop = hyperv->loop,
						   .vp_count = hyperv->part->vp_count,
						   .disk_full = disk_full,
						   .ctx = hyperv};
	return controllers_begin(&hyperv->controllers);
}

int hyperv_new(struct partition *part, struct loop *loop, const struct hyperv_events *events,
	       struct hyperv **ret_hyperv)
{
	struct hyperv *hyperv = calloc(1, sizeof(*hyperv));
	int r;

	if (!hyperv)
		return -ENOMEM;
	hyperv->part = part;
	hyperv->loop = loop;
	hyperv->events = *events;
	pthread_mutex_init(&hyperv->lock, NULL);
	r = make_timers(hyperv);
	if (r >= 0)
		r = make_hv(hyperv);
	if (r >= 0)
		r = make_bus(hyperv);
	if (r < 0) {
		hyperv_free(hyperv);
		return r;
	}
	*ret_hyperv = hyperv;
	return 0;
}

static void became_quiet(void *ctx)
{
	struct hyperv *hyperv = ctx;

	hyperv->quiet = true;
	loop_stop(hyperv->loop);
}

static void free_bus(struct hyperv *hyperv)
{
	if (!hyperv->bus)
		return;
	vmbus_reset(hyperv->bus, became_quiet, hyperv);
	while (!hyperv->quiet)
		if (loop_run(hyperv->loop) < 0)
			abort(); /* memory that a device still writes cannot be given back */
	controllers_end(&hyperv->controllers);
	if (hyperv->ic)
		ic_free(hyperv->ic);
	vmbus_free(hyperv->bus);
}

void hyperv_free(struct hyperv *hyperv)
{
	if (!hyperv)
		return;
	free_bus(hyperv);
	for (unsigned int vp = 0; vp < PARTITION_MAX_VPS; vp++)
		for (unsigned int i = 0; i < HV_STIMERS; i++)
			loop_timer_free(hyperv->timers[vp][i].loop_timer);
	hv_free(hyperv->hv);
	pthread_mutex_destroy(&hyperv->lock);
	free(hyperv);
}
