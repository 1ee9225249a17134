/*
 * vps.c - a thread for each VP; pausing them all, and the guest's time with them
 *
 * A pause is asked for on the loop's thread, which does not wait: the VP threads park one after the
 * other, and the last has the loop's thread stop the time. Only that thread ends a pause, so nobody
 * enters the guest while it stops the time or starts it.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log.h"
#include "vm_internal.h"

#define JOIN_SECONDS 60

/* --- pausing; the loop's thread --- */

/* No VP runs. An engine that cannot stop its processors' time is no reason to let the rest run on.
 */
static void stop_time(struct vm *vm)
{
	struct machine *machine = vm->machine;
	int r = partition_stop_time(machine->part);

	if (r < 0)
		log_warning("the processors' time goes on while the guest is paused: %s",
			    strerror(-r));
	chipset_stop_clock(machine->chipset);
	if (machine->hyperv)
		hyperv_stop_time(machine->hyperv);
	vm->time_stopped = true;
}

static void start_time(struct vm *vm)
{
	struct machine *machine = vm->machine;
	int r;

	if (!vm->time_stopped)
		return;
	vm->time_stopped = false;
	r = partition_start_time(machine->part);
	if (r < 0 && r != -ENOTSUP)
		log_warning("the processors' time has jumped: %s", strerror(-r));
	chipset_start_clock(machine->chipset);
	if (machine->hyperv)
		hyperv_start_time(machine->hyperv);
}

void vm_when_all_parked(struct loop_work *work)
{
	struct vm *vm = container_of(work, struct vm, all_parked);
	bool parked;

	pthread_mutex_lock(&vm->lock);
	parked = vm->paused && !vm->ending && vm->parked == vm->running;
	pthread_mutex_unlock(&vm->lock);
	if (parked && !vm->time_stopped)
		stop_time(vm);
}

void vm_pause(struct vm *vm)
{
	if (vm->paused)
		return;
	vm->paused = true;
	for (unsigned int i = 0; i < vm->thread_count; i++)
		vp_cancel(vm->threads[i].vp);
	/* They may all be parked still, from a pause that has just ended. */
	loop_post(vm->config.loop, &vm->all_parked);
}

void vm_resume(struct vm *vm)
{
	if (!vm->paused)
		return;
	start_time(vm);
	pthread_mutex_lock(&vm->lock);
	vm->paused = false;
	pthread_cond_broadcast(&vm->resume);
	pthread_mutex_unlock(&vm->lock);
}

/* --- VP threads --- */

static void wait_while_paused(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	if (++vm->parked == vm->running)
		loop_post(vm->config.loop, &vm->all_parked);
	while (vm->paused && !vm->ending)
		pthread_cond_wait(&vm->resume, &vm->lock);
	vm->parked--;
	pthread_mutex_unlock(&vm->lock);
}

static void count_running(struct vm *vm, int change)
{
	pthread_mutex_lock(&vm->lock);
	vm->running += change;
	if (!vm->running)
		pthread_cond_broadcast(&vm->idle);
	pthread_mutex_unlock(&vm->lock);
}

static void *run_vp(void *ctx)
{
	struct vp_thread *self = ctx;

	while (!self->vm->ending) {
		int r;

		if (unlikely(self->vm->paused)) {
			wait_while_paused(self->vm);
			continue;
		}
		r = vp_run(self->vp, &self->exit);

		if (r < 0) {
			vm_end_boot(self->vm, VM_FAILED, 0, "VP %u cannot run: %s", self->vp->index,
				    strerror(-r));
			break;
		}
		vm_handle_exit(self);
	}
	count_running(self->vm, -1);
	return NULL;
}

/* The loop's thread takes these; whatever an engine kicks its VPs with stays open. */
static void block_process_signals(sigset_t *ret_before)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGWINCH);
	pthread_sigmask(SIG_BLOCK, &set, ret_before);
}

void vm_start_vps(struct vm *vm)
{
	sigset_t before;

	block_process_signals(&before);
	vm->thread_count = 0;
	for (unsigned int i = 0; i < vm->config.vp_count; i++) {
		struct vp_thread *thread = &vm->threads[i];
		int r;

		*thread = (struct vp_thread){.vm = vm, .vp = vm->machine->vps[i]};
		count_running(vm, 1);
		r = pthread_create(&thread->thread, NULL, run_vp, thread);
		if (r) {
			count_running(vm, -1);
			vm_end_boot(vm, VM_FAILED, 0, "cannot start the thread of VP %u: %s", i,
				    strerror(r));
			break;
		}
		vm->thread_count++;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Wait for the VP threads' end, on the clock that nobody sets; return how many still run. */
static unsigned int wait_until_idle(struct vm *vm)
{
	struct timespec deadline;
	unsigned int running;

	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += JOIN_SECONDS;
	pthread_mutex_lock(&vm->lock);
	while (vm->running &&
	       !pthread_cond_clockwait(&vm->idle, &vm->lock, CLOCK_MONOTONIC, &deadline))
		;
	running = vm->running;
	pthread_mutex_unlock(&vm->lock);
	return running;
}

/*
 * A VP that does not come back is a defect of the engine. Its thread cannot be taken away, so
 * the process ends, by exit() for the terminal's sake. pthread_clockjoin_np() could wait too, but
 * ThreadSanitizer does not know it and would see races with threads that have ended.
 */
void vm_join_vps(struct vm *vm)
{
	unsigned int running;

	for (unsigned int i = 0; i < vm->thread_count; i++)
		vp_cancel(vm->threads[i].vp);
	running = wait_until_idle(vm);
	if (running) {
		log_error("%u of %u VPs do not stop (a defect of engine %s); giving up", running,
			  vm->thread_count, vm->config.engine->name);
		exit(1);
	}
	for (unsigned int i = 0; i < vm->thread_count; i++)
		pthread_join(vm->threads[i].thread, NULL);
}
