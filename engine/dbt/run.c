/*
 * run.c - the run loop: everything a VP does outside of translated and light code
 *
 * in_guest is 1 exactly while the VP thread is inside enter(). A thread that stops the VPs sets
 * REQ_STOP and waits for in_guest to be 0; the run loop sets in_guest first and looks at requests
 * after, so one of the two always sees the other. A stopped VP waits for the partition's lock,
 * which the stopping thread holds.
 */
#include "run.h"

#include <asm/prctl.h>
#include <elf.h>
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "apic.h"
#include "code_cache.h"
#include "cpu.h"
#include "dispatch.h"
#include "loop.h"
#include "mmu.h"
#include "stats.h"
#include "trace.h"
#include "translate.h"

#define HWCAP2_FSGSBASE BIT(1)
#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

static _Thread_local struct dbt_vp *thread_vp; /* the VP that this thread runs */

/* --- host signals: exceptions that guest instructions cause on the host CPU --- */

static const uint8_t context_registers[] = {
	[VP_RAX] = REG_RAX, [VP_RCX] = REG_RCX, [VP_RDX] = REG_RDX, [VP_RBX] = REG_RBX,
	[VP_RSP] = REG_RSP, [VP_RBP] = REG_RBP, [VP_RSI] = REG_RSI, [VP_RDI] = REG_RDI,
	[VP_R8] = REG_R8,   [VP_R9] = REG_R9,   [VP_R10] = REG_R10, [VP_R11] = REG_R11,
	[VP_R12] = REG_R12, [VP_R13] = REG_R13,
};

static void fail(struct dbt_vp *vp, const char *format, uint64_t value)
{
	vp->exit.reason = VP_EXIT_FAILED;
	vp->exit.failed.rip = vp->rip;
	snprintf(vp->exit.failed.why, sizeof(vp->exit.failed.why), format, (unsigned long long)value);
	vp->leave = LEAVE_EXIT;
}

/* The guest's registers at the fault, from the interrupted context. */
static void take_context(struct dbt_vp *vp, const struct block *block, const greg_t *registers)
{
	bool flags_in_host;

	for (unsigned int i = 0; i < ARRAY_SIZE(context_registers); i++)
		vp->gpr[i] = registers[context_registers[i]];
	vp->rip = block_guest_rip(block, (const uint8_t *)registers[REG_RIP], &flags_in_host);
	if (flags_in_host)
		vp_set_arith_flags(vp, registers[REG_EFL]);
	vp->aborted = 1;
}

static void raise_host_exception(struct dbt_vp *vp, unsigned int vector, uint64_t address)
{
	static const uint32_t with_error = BIT(VEC_GP) | BIT(VEC_SS) | BIT(VEC_AC);
	static const uint32_t known = BIT(VEC_DE) | BIT(VEC_UD) | BIT(VEC_MF) | BIT(VEC_XM) | with_error;

	if (vector > 31 || !(known & BIT(vector)))
		fail(vp, "translated code touched host memory at 0x%llx", address);
	else if (with_error & BIT(vector))
		vp_raise_error(vp, vector == VEC_SS ? VEC_GP : vector, 0);
	else
		vp_raise(vp, vector);
}

static const int own_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
static struct sigaction previous_actions[ARRAY_SIZE(own_signals)]; /* whoever cleans up in a crash */

static void restore_previous(int number)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(own_signals); i++)
		if (own_signals[i] == number)
			sigaction(number, &previous_actions[i], NULL);
}

static void on_signal(int number, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	const uint8_t *rip = (const uint8_t *)registers[REG_RIP];
	struct dbt_vp *vp = thread_vp;
	struct block *block = NULL;

	if (info->si_code <= 0) { /* sent by a process, not by the processor: die of it */
		restore_previous(number);
		raise(number);
		return;
	}
	if (vp && atomic_load(&vp->in_guest))
		block = code_cache_find_host(vp_partition(vp)->cache, rip);
	if (!block) { /* not the guest's doing: it happens again, to the previous handler */
		restore_previous(number);
		return;
	}
	take_context(vp, block, registers);
	raise_host_exception(vp, registers[REG_TRAPNO], (uintptr_t)info->si_addr);
	registers[REG_RIP] = (greg_t)(uintptr_t)vp_partition(vp)->cache->thunks.fault;
	registers[REG_RSP] = vp->host_sp;
	registers[REG_EFL] &= ~(greg_t)(FLAG_DF | FLAG_TF | FLAG_AC);
}

static pthread_key_t thread_end; /* its destructor gives the signal stack back */
static void leave_signal_stack(void *unused);

static void install_once(void)
{
	struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};

	for (unsigned int i = 0; i < ARRAY_SIZE(own_signals); i++)
		sigaction(own_signals[i], &action, &previous_actions[i]);
	pthread_key_create(&thread_end, leave_signal_stack);
}

void dbt_signals_install(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, install_once);
}

/* --- the thread of a VP --- */

static _Thread_local stack_t previous_stack; /* for signals, before the thread ran a VP */

static void leave_signal_stack(void *unused)
{
	sigaltstack(&previous_stack, NULL);
	thread_vp = NULL;
}

static void take_signal_stack(struct dbt_vp *vp)
{
	/* With SS_AUTODISARM it is used even if the guest's RSP happens to point into it. */
	stack_t stack = {
		.ss_sp = vp->signal_stack, .ss_size = SIGNAL_STACK_BYTES, .ss_flags = (int)SS_AUTODISARM};

	sigaltstack(&stack, thread_vp ? NULL : &previous_stack);
	pthread_setspecific(thread_end, vp);
}

static void block_signals(void)
{
	static const int open[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
	sigset_t blocked;

	sigfillset(&blocked);
	for (unsigned int i = 0; i < ARRAY_SIZE(open); i++)
		sigdelset(&blocked, open[i]);
	pthread_sigmask(SIG_SETMASK, &blocked, NULL);
}

/* Is GS where translated code expects it? Whoever changed it since cannot be trusted to tell. */
static bool gs_base_is(const struct dbt_vp *vp)
{
	uint64_t base = 0;

	if (getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE)
		__asm__("rdgsbase %0" : "=r"(base));
	return base == (uintptr_t)vp;
}

/*
 * Host RSP is the guest's while translated code runs, so no signal may use the current stack:
 * asynchronous ones are blocked, synchronous ones go to a stack of their own.
 */
static void adopt_thread(struct dbt_vp *vp)
{
	if (likely(thread_vp == vp && gs_base_is(vp)))
		return;
	take_signal_stack(vp);
	block_signals();
	syscall(SYS_arch_prctl, ARCH_SET_GS, vp);
	thread_vp = vp;
}

void dbt_release_thread(struct dbt_vp *vp)
{
	if (thread_vp == vp)
		leave_signal_stack(vp);
}

/* --- waiting --- */

void dbt_kick(struct dbt_vp *vp)
{
	vp_request_exit(vp);
	atomic_fetch_add(&vp->wake, 1);
	if (atomic_load(&vp->waiting))
		raw_syscall(SYS_futex, (long)&vp->wake, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
}

/* Requests that are served here, not in the dispatcher. */
static bool must_serve(const struct dbt_vp *vp)
{
	uint32_t requests = atomic_load(&vp->requests);

	return (requests & (REQ_CANCEL | REQ_STOP | REQ_INIT | REQ_SIPI)) ||
	       ((requests & REQ_NMI) && !vp->nmi_masked && vp->activity != VP_WAIT_FOR_SIPI);
}

static bool may_continue(struct dbt_vp *vp)
{
	if (must_serve(vp))
		return true;
	return vp->activity == VP_HALTED && vp->flag_if && apic_pending(vp) >= 0;
}

/*
 * To sleep and be woken takes the host tens of microseconds, as long as many a device takes to
 * answer. So a halted VP looks for events for a while before it sleeps: as long as its last waits
 * were short, and not at all once one was long, so that an idle guest costs nothing.
 */
#define POLL_MIN_NS 10000u
#define POLL_MAX_NS 100000u

static bool poll_for_event(struct dbt_vp *vp, uint64_t start_ns)
{
	if (!vp->poll_ns)
		return false;
	do {
		for (unsigned int i = 0; i < 32; i++) {
			if (may_continue(vp))
				return true;
			__builtin_ia32_pause();
		}
	} while (monotonic_ns() - start_ns < vp->poll_ns);
	return false;
}

static void sleep_for_event(struct dbt_vp *vp)
{
	atomic_store(&vp->waiting, 1);
	for (;;) {
		uint32_t seen = atomic_load(&vp->wake);

		if (may_continue(vp))
			break;
		syscall(SYS_futex, &vp->wake, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
	}
	atomic_store(&vp->waiting, 0);
}

static void wait_for_event(struct dbt_vp *vp)
{
	uint64_t start_ns = monotonic_ns();

	if (poll_for_event(vp, start_ns)) {
		stat_add(vp, POLLS, 1);
		return;
	}
	sleep_for_event(vp);
	if (monotonic_ns() - start_ns > POLL_MAX_NS)
		vp->poll_ns = 0;
	else
		vp->poll_ns = MIN(MAX(2 * vp->poll_ns, POLL_MIN_NS), POLL_MAX_NS);
}

/* --- requests --- */

static bool take_request(struct dbt_vp *vp, uint32_t request)
{
	return atomic_fetch_and(&vp->requests, ~request) & request;
}

static void serve_init_and_sipi(struct dbt_vp *vp)
{
	if (take_request(vp, REQ_INIT)) {
		cpu_reset(vp, true);
		mmu_flush_all(vp);
		vp->step_once = vp->stepping = vp->irq_shadow = 0;
		vp->bounce.bytes = 0;
		vp->exception.vector = VEC_NONE;
	}
	if (take_request(vp, REQ_SIPI) && vp->activity == VP_WAIT_FOR_SIPI)
		cpu_start_sipi(vp, atomic_load(&vp->sipi_vector));
}

static void serve_nmi(struct dbt_vp *vp)
{
	if (vp->nmi_masked || vp->answer.valid || vp->step_once || !take_request(vp, REQ_NMI))
		return;
	vp->activity = VP_RUNNING;
	cpu_deliver_interrupt(vp, VEC_NMI); /* if it cannot, vp->leave is set */
}

/* Returns true when vp_run() is to return VP_EXIT_CANCELLED. */
static bool serve_requests(struct dbt_vp *vp)
{
	struct dbt_partition *part = vp_partition(vp);

	while (atomic_load(&vp->requests) & REQ_STOP) {
		pthread_mutex_lock(&part->lock); /* held by the one who stops */
		pthread_mutex_unlock(&part->lock);
	}
	if (atomic_load(&vp->requests) & (REQ_INIT | REQ_SIPI))
		serve_init_and_sipi(vp);
	if (take_request(vp, REQ_CANCEL))
		return true;
	if (atomic_load(&vp->requests) & REQ_NMI)
		serve_nmi(vp);
	return false;
}

/* --- the loop --- */

static void flush_cache(struct dbt_vp *vp)
{
	struct dbt_partition *part = vp_partition(vp);

	stop_vps(part, vp);
	code_cache_flush(part);
	resume_vps(part, vp);
}

static void translate_next(struct dbt_vp *vp)
{
	struct dbt_partition *part = vp_partition(vp);
	bool step = dbt_must_step(vp);

	pthread_mutex_lock(&part->lock);
	if (translate(vp, step) == -ENOSPC) {
		flush_cache(vp);
		translate(vp, step);
	}
	pthread_mutex_unlock(&part->lock);
}

/* Run translated code until something needs the run loop. */
static void enter_guest(struct dbt_vp *vp)
{
	struct thunks *thunks = &vp_partition(vp)->cache->thunks;
	void (*enter)(struct dbt_vp *, const uint8_t *) = (void *)thunks->enter;

	atomic_store(&vp->in_guest, 1);
	if (!(atomic_load(&vp->requests) & REQ_STOP))
		enter(vp, thunks->fault); /* starts in the dispatcher */
	else
		vp->leave = LEAVE_REQUEST;
	atomic_store(&vp->in_guest, 0);
	trace_drain(vp);
}

/* The caller's answer to the last exit, for the instruction that is executed again. */
static void take_answer(struct dbt_vp *vp, const struct vp_exit *exit)
{
	struct dbt_answer *answer = &vp->answer;

	if (exit->reason != vp->exit.reason)
		return;
	if (exit->reason == VP_EXIT_PIO && !exit->pio.write)
		*answer = (struct dbt_answer){.valid = true, .reason = VP_EXIT_PIO, .address = exit->pio.port,
					      .bytes = exit->pio.bytes, .data = exit->pio.data};
	else if (exit->reason == VP_EXIT_MMIO && !exit->mmio.write)
		*answer = (struct dbt_answer){.valid = true, .reason = VP_EXIT_MMIO, .address = exit->mmio.gpa,
					      .bytes = exit->mmio.bytes, .data = exit->mmio.data};
	else if (exit->reason == VP_EXIT_MSR)
		*answer = (struct dbt_answer){.valid = true, .reason = VP_EXIT_MSR, .write = exit->msr.write,
					      .address = exit->msr.index, .fault = exit->msr.fault,
					      .data = exit->msr.data};
	vp->exit.reason = VP_EXIT_CANCELLED; /* answered once */
}

static void leave_guest(struct dbt_vp *vp, enum dbt_leave why)
{
	vp->leave = LEAVE_NONE;
	switch (why) {
	case LEAVE_TRANSLATE:
		translate_next(vp);
		break;
	case LEAVE_HEAVY:
		vp->heavy(vp);
		break;
	case LEAVE_HALT:
		stat_add(vp, HALTS, 1);
		vp->activity = VP_HALTED;
		break;
	case LEAVE_NONE:
	case LEAVE_EXIT:
	case LEAVE_REQUEST:
		break;
	}
}

/* Until there is an exit for vp_run()'s caller: it is in vp->exit. */
static void run_to_exit(struct dbt_vp *vp)
{
	for (;;) {
		enum dbt_leave why;

		if (serve_requests(vp)) {
			vp->exit.reason = VP_EXIT_CANCELLED;
			return;
		}
		if (vp->activity != VP_RUNNING) {
			wait_for_event(vp);
			if (vp->activity == VP_HALTED && !(atomic_load(&vp->requests) & (REQ_CANCEL | REQ_STOP)))
				vp->activity = VP_RUNNING;
			if (vp->activity != VP_RUNNING || must_serve(vp))
				continue;
		}
		if (vp->leave == LEAVE_NONE)
			enter_guest(vp);
		why = vp->leave;
		if (why == LEAVE_EXIT) {
			vp->leave = LEAVE_NONE;
			stat_add(vp, EXITS, 1);
			return;
		}
		leave_guest(vp, why);
	}
}

int dbt_vp_run(struct vp *base, struct vp_exit *exit)
{
	struct dbt_vp *vp = to_dbt_vp(base);

	adopt_thread(vp);
	take_answer(vp, exit);
	run_to_exit(vp);
	trace_drain(vp); /* an NMI may have been delivered since control left the guest */
	*exit = vp->exit;
	return 0;
}
