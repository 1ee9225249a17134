/*
 * vp.c - a VP on KVM: creation, the run loop, getting it out of KVM_RUN
 *
 * No request is lost. A requester sets its bit in vp->requests, then run->immediate_exit, then
 * signals the thread in vp_run(), if there is one. The run loop clears immediate_exit first and
 * takes the bits after. So a bit set too late for the loop to see is followed by an
 * immediate_exit that the loop does not clear, and KVM_RUN returns at once; if KVM has already
 * looked at immediate_exit, the signal finds the thread in KVM_RUN and ends that.
 *
 * A cancelled run leaves no instruction half done: while an exit's instruction is incomplete,
 * KVM_RUN is entered once more with immediate_exit set, which completes it and returns EINTR, or
 * brings the same instruction's next exit.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kvm_internal.h"

/* A string instruction's accesses come one page at a time; 64 are far more than any other's. */
#define ABANDON_TRIES 64

/* --- kicks --- */

/* Kicks this thread received, to tell ours from a foreign signal that ended KVM_RUN. */
static _Thread_local volatile sig_atomic_t kicks_received;
/* 0: this thread never ran a VP; else the kick is unblocked. */
static _Thread_local pid_t thread_id;

static void on_kick(int signal_number)
{
	kicks_received++;
}

int kvm_install_kick(void)
{
	struct sigaction action = {.sa_handler = on_kick};

	sigemptyset(&action.sa_mask);
	return sigaction(KVM_KICK_SIGNAL, &action, NULL) < 0 ? -errno : 0;
}

/* The calling thread's number; it can be kicked from then on. */
static pid_t this_thread(void)
{
	sigset_t set;

	if (likely(thread_id))
		return thread_id;
	sigemptyset(&set);
	sigaddset(&set, KVM_KICK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	thread_id = gettid();
	return thread_id;
}

void kvm_vp_request(struct kvm_vp *vp, uint32_t request)
{
	pid_t runner;

	atomic_fetch_or(&vp->requests, request);
	__atomic_store_n(&vp->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	runner = atomic_load(&vp->runner);
	/* A thread that has ended is no error; a new one with its number merely counts a kick. */
	if (runner && runner != thread_id)
		syscall(SYS_tgkill, getpid(), runner, KVM_KICK_SIGNAL);
}

void kvm_vp_cancel(struct vp *vp)
{
	kvm_vp_request(to_kvm_vp(vp), REQUEST_CANCEL);
}

/* --- creation --- */

/* A secondary processor is past its INIT: it waits for a SIPI and nothing else. */
static int wait_for_sipi(struct kvm_vp *vp)
{
	struct kvm_mp_state state = {.mp_state = KVM_MP_STATE_INIT_RECEIVED};

	return vp->vp.index ? kvm_call(vp->fd, KVM_SET_MP_STATE, &state) : 0;
}

static int open_vp(struct kvm_vp *vp, struct kvm_partition *part, unsigned int index)
{
	int r = kvm_call_value(part->vm_fd, KVM_CREATE_VCPU, index);

	if (r < 0)
		return r;
	vp->fd = r;
	vp->run = mmap(NULL, part->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vp->fd, 0);
	if (vp->run == MAP_FAILED) {
		vp->run = NULL;
		return -ENOMEM;
	}
	r = kvm_vp_set_cpuid(vp);
	return r < 0 ? r : wait_for_sipi(vp);
}

void kvm_vp_free(struct kvm_vp *vp, size_t run_bytes)
{
	if (vp->run)
		munmap(vp->run, run_bytes);
	if (vp->fd >= 0)
		close(vp->fd);
	free(vp);
}

int kvm_create_vp(struct partition *base, unsigned int index, struct vp **ret_vp)
{
	struct kvm_partition *part = to_kvm(base);
	struct kvm_vp *vp = calloc(1, sizeof(*vp));
	int r;

	if (!vp)
		return -ENOMEM;
	vp->fd = -1;
	vp->extint_vector = -1;
	vp->window_unknown = true;
	vp->vp.part = base;
	vp->vp.index = index;
	r = open_vp(vp, part, index);
	if (r < 0) {
		kvm_vp_free(vp, part->run_bytes);
		return r;
	}
	*ret_vp = &vp->vp;
	return 0;
}

/* --- the 8259's interrupts --- */

/* Does KVM have to say first whether the VP could take an interrupt? */
static bool extint_needs_answer(const struct kvm_vp *vp)
{
	return vp->extint_wanted && (vp->window_unknown || vp->io_incomplete);
}

/* KVM takes one vector at a time and keeps it until the processor accepts it. */
static void inject_extint(struct kvm_vp *vp)
{
	struct kvm_partition *part = kvm_vp_partition(vp);
	struct kvm_interrupt interrupt;

	if (vp->extint_vector < 0 && part->acknowledge_extint)
		vp->extint_vector = part->acknowledge_extint(part->ctx);
	if (vp->extint_vector < 0)
		return;
	interrupt.irq = (uint32_t)vp->extint_vector;
	if (kvm_call(vp->fd, KVM_INTERRUPT, &interrupt) == -EEXIST)
		return;
	vp->extint_vector = -1;
	vp->run->ready_for_interrupt_injection = 0;
}

/* Is there an interrupt for LINT0? Only VP 0's is wired. */
static bool extint_waits(struct kvm_vp *vp)
{
	return vp->vp.index == 0 &&
	       (vp->extint_vector >= 0 || atomic_load(&kvm_vp_partition(vp)->extint));
}

/*
 * While the processor cannot take the interrupt, KVM is asked for an exit as soon as it can. A
 * processor halted with interrupts on can take one at once, and KVM_INTERRUPT wakes it.
 */
static void offer_extint(struct kvm_vp *vp)
{
	if (vp->extint_wanted && vp->run->ready_for_interrupt_injection)
		inject_extint(vp);
	vp->run->request_interrupt_window = extint_waits(vp);
}

/* --- running --- */

enum step { STEP_ENTER, STEP_COMPLETE, STEP_CANCELLED };

/* Take the requests of other threads. immediate_exit is cleared before, see the top. */
static enum step take_requests(struct kvm_vp *vp)
{
	uint32_t requests;

	__atomic_store_n(&vp->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	requests = atomic_load(&vp->requests);
	if (likely(!requests))
		return STEP_ENTER;
	if (requests & REQUEST_NMI)
		kvm_call(vp->fd, KVM_NMI, NULL);
	atomic_fetch_and(&vp->requests, ~(REQUEST_NMI | REQUEST_EXTINT));
	if (!(requests & REQUEST_CANCEL))
		return STEP_ENTER;
	if (vp->io_incomplete)
		return STEP_COMPLETE;
	atomic_fetch_and(&vp->requests, ~REQUEST_CANCEL);
	return STEP_CANCELLED;
}

static void count_exit(struct kvm_vp *vp, unsigned int code)
{
	uint64_t *counter = &vp->exits[MIN(code, KVM_EXIT_CODES - 1u)];

	__atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}

/* KVM_RUN ended with @error and not with an exit; returns 1 with *exit filled, 0 to go on. */
static int explain_error(struct kvm_vp *vp, struct vp_exit *exit, int error, bool kicked)
{
	if (error == EAGAIN)
		return 0; /* a processor that waits for its SIPI was woken by something else */
	if (error != EINTR) {
		kvm_exit_failed(vp, exit, "KVM_RUN failed: %s", strerror(error));
		return 1;
	}
	count_exit(vp, KVM_EXIT_INTR);
	vp->io_incomplete = false;
	if (kicked || atomic_load(&vp->requests))
		return 0; /* take_requests() knows what it was for */
	exit->reason = VP_EXIT_CANCELLED;
	return 1;
}

static int enter(struct kvm_vp *vp, struct vp_exit *exit, bool immediate)
{
	sig_atomic_t kicks = kicks_received;
	int r, error;

	if (immediate)
		__atomic_store_n(&vp->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	r = ioctl(vp->fd, KVM_RUN, 0);
	error = errno;
	vp->window_unknown = false;
	if (r < 0)
		return explain_error(vp, exit, error, immediate || kicks != kicks_received);
	count_exit(vp, vp->run->exit_reason);
	return kvm_translate_exit(vp, exit);
}

/* One turn of the run loop; returns 1 with *exit filled, 0 to go on. */
static int run_once(struct kvm_vp *vp, struct vp_exit *exit)
{
	enum step step = take_requests(vp);

	if (step == STEP_CANCELLED) {
		exit->reason = VP_EXIT_CANCELLED;
		return 1;
	}
	vp->extint_wanted = extint_waits(vp);
	if (step == STEP_COMPLETE || extint_needs_answer(vp))
		return enter(vp, exit, true);
	offer_extint(vp);
	return enter(vp, exit, false);
}

/*
 * Before the state is replaced: an instruction that waits for its answer ends now, its further
 * accesses go nowhere. immediate_exit stays set, which costs the next run one turn of its loop.
 */
void kvm_vp_abandon_exit(struct kvm_vp *vp)
{
	vp->pio_active = false;
	vp->answer = ANSWER_NONE;
	for (int tries = 0; vp->io_incomplete && tries < ABANDON_TRIES; tries++) {
		__atomic_store_n(&vp->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
		if (ioctl(vp->fd, KVM_RUN, 0) < 0)
			vp->io_incomplete = false;
	}
}

int kvm_vp_run(struct vp *base, struct vp_exit *exit)
{
	struct kvm_vp *vp = to_kvm_vp(base);
	pid_t nobody = 0;

	kvm_answer_exit(vp, exit);
	if (kvm_next_pio_element(vp, exit))
		return 0;
	if (!atomic_compare_exchange_strong(&vp->runner, &nobody, this_thread()))
		return -EBUSY;
	while (!run_once(vp, exit))
		;
	atomic_store(&vp->runner, 0);
	return 0;
}
