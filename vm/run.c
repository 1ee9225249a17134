/*
 * run.c - runs a machine: a thread per VP, the event loop on the caller's thread
 *
 * States of a boot: running -> ending -> joined. Whoever has a reason to end it (a VP thread, a
 * device through chipset_events, vm_stop()) calls end_boot(): the first reason is kept, later
 * ones are its consequences. That only takes a lock of ours and stops the loop, so it is safe
 * with the chipset lock held. The loop's thread then cancels and joins the VPs.
 *
 * A guest's reset makes a new machine from the same configuration: nothing of the old one's
 * memory, processors or devices can leak into it, and no translated code can be stale.
 *
 * Invariants:
 *   1. vm->machine changes on the loop's thread only, while the loop is not running.
 *   2. A VP thread that sees vm->ending does not enter the guest again.
 *   3. While vm->paused is set no VP enters the guest. When all have left it (parked), the guest's
 *      time is stopped: devices, processors, reference time. It is started again before a VP runs.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "drives.h"
#include "log.h"
#include "machine.h"

#define JOIN_SECONDS	60
#define REBOOT_PAUSE_NS 50000000u
#define LAST_WORDS_BYTES 3000u /* of a crash report */
#define CRASH_PAUSE_NS	1000000000u /* without a report, before one is worth a line */

struct vp_thread {
	struct vm *vm;
	struct vp *vp;
	pthread_t thread;
	struct vp_exit exit;
};

struct vm {
	struct vm_config config;
	struct machine *machine;
	struct vp_thread threads[PARTITION_MAX_VPS];
	unsigned int thread_count;

	struct drives *drives;
	unsigned int boots;
	uint64_t booted_ns;

	pthread_mutex_t lock;  /* of all below; the atomics are read without it */
	bool has_result;
	struct vm_result result;
	char crash[320];       /* the guest's last crash report */
	uint64_t crash_ns;     /* when it came, 0: none did */
	pthread_cond_t resume; /* paused or ending changed */
	unsigned int running;  /* VP threads that have not come to their end */
	pthread_cond_t idle;   /* running became 0 */
	unsigned int parked;   /* VP threads that wait for the end of the pause */
	atomic_bool ending, paused;
	struct loop_work all_parked; /* posted when that may be so */
	bool time_stopped;	     /* the loop's thread */
};

/* --- the end of a boot --- */

PRINTF_LIKE(4, 5)
static void end_boot(struct vm *vm, enum vm_outcome outcome, uint32_t value, const char *format,
		     ...)
{
	va_list args;

	pthread_mutex_lock(&vm->lock);
	/* A guest that resets all the time must not outrun the user who wants to stop it. */
	if (!vm->has_result || (outcome == VM_STOPPED && vm->result.outcome == VM_RESET)) {
		vm->has_result = true;
		vm->result.outcome = outcome;
		vm->result.value = value;
		va_start(args, format);
		vsnprintf(vm->result.text, sizeof(vm->result.text), format, args);
		va_end(args);
	}
	vm->ending = true;
	pthread_cond_broadcast(&vm->resume);
	pthread_mutex_unlock(&vm->lock);
	loop_stop(vm->config.loop);
}

static void on_power_off(void *ctx)
{
	end_boot(ctx, VM_POWERED_OFF, 0, "the guest powered off");
}

static void on_reset(void *ctx)
{
	end_boot(ctx, VM_RESET, 0, "the guest reset the machine");
}

static void on_debug_exit(void *ctx, uint32_t value)
{
	end_boot(ctx, VM_DEBUG_EXIT, value, "the guest wrote %#x to the debug exit port", value);
}

void vm_stop(struct vm *vm)
{
	end_boot(vm, VM_STOPPED, 0, "stopped");
}

void vm_reset(struct vm *vm)
{
	end_boot(vm, VM_RESET, 0, "reset");
}

/* --- what Hyper-V's half reports --- */

/* The end of what the guest left behind, line by line; the log takes out control characters. */
static void log_last_words(const char *text)
{
	char copy[LAST_WORDS_BYTES + 1], *at = copy, *line;
	size_t length = strlen(text), bytes = MIN(length, LAST_WORDS_BYTES);

	memcpy(copy, text + length - bytes, bytes + 1);
	while ((line = strsep(&at, "\n")))
		if (*line)
			log_warning("guest: %s", line);
}

static void on_crash(void *ctx, const struct hv_crash *crash)
{
	struct vm *vm = ctx;
	const uint64_t *p = crash->parameters;
	char report[sizeof(vm->crash)];
	uint64_t now = monotonic_ns();
	bool quiet;

	snprintf(report, sizeof(report), "parameters %#llx %#llx %#llx %#llx %#llx",
		 (unsigned long long)p[0], (unsigned long long)p[1], (unsigned long long)p[2],
		 (unsigned long long)p[3], (unsigned long long)p[4]);
	pthread_mutex_lock(&vm->lock);
	memcpy(vm->crash, report, sizeof(report));
	/* A guest may say so as often as it likes. */
	quiet = vm->crash_ns && now - vm->crash_ns < CRASH_PAUSE_NS;
	vm->crash_ns = now;
	pthread_mutex_unlock(&vm->lock);
	if (quiet)
		return;
	log_last_words(crash->text);
	log_warning("the guest reports a crash, with %s", report);
}

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

static void when_all_parked(struct loop_work *work)
{
	struct vm *vm = container_of(work, struct vm, all_parked);
	bool parked;

	pthread_mutex_lock(&vm->lock);
	parked = vm->paused && !vm->ending && vm->parked == vm->running;
	pthread_mutex_unlock(&vm->lock);
	if (parked && !vm->time_stopped)
		stop_time(vm);
}

static void pause_vps(struct vm *vm)
{
	if (vm->paused)
		return;
	vm->paused = true;
	for (unsigned int i = 0; i < vm->thread_count; i++)
		vp_cancel(vm->threads[i].vp);
	/* They may all be parked still, from a pause that has just ended. */
	loop_post(vm->config.loop, &vm->all_parked);
}

static void resume_vps(struct vm *vm)
{
	if (!vm->paused)
		return;
	start_time(vm);
	pthread_mutex_lock(&vm->lock);
	vm->paused = false;
	pthread_cond_broadcast(&vm->resume);
	pthread_mutex_unlock(&vm->lock);
}

/* The guest goes on when there is room for every disk. */
static void on_disk_full(void *ctx, const char *path, bool full)
{
	struct vm *vm = ctx;

	drives_set_full(vm->drives, path, full);
	if (full) {
		log_warning("%s: cannot grow: the host's file system is full, or a quota or a "
			    "limit on the size of files is reached; the guest waits until there "
			    "is room",
			    path);
		pause_vps(vm);
	} else if (drives_full_path(vm->drives)) {
		log_warning("%s: there is room again; the guest still waits for room for %s", path,
			    drives_full_path(vm->drives));
	} else {
		log_warning("%s: there is room again; the guest goes on", path);
		resume_vps(vm);
	}
}

/* --- exits; each returns on the VP thread, with the answer in the exit --- */

static void handle_pio(struct vp_thread *self, struct vp_exit *exit)
{
	struct hyperv *hyperv = self->vm->machine->hyperv;

	if (hyperv && exit->pio.port == HYPERV_SIGNAL_PORT && exit->pio.write &&
	    exit->pio.bytes == 4)
		hyperv_signal(hyperv, exit->pio.data);
	else
		chipset_pio(self->vm->machine->chipset, exit);
}

static void handle_mmio(struct vp_thread *self, struct vp_exit *exit)
{
	chipset_mmio(self->vm->machine->chipset, exit);
}

/* The hypervisor's range faults as on a processor without one; what else is unknown reads 0. */
static void handle_msr(struct vp_thread *self, struct vp_exit *exit)
{
	bool synthetic = exit->msr.index >> 28 == 4;
	struct hyperv *hyperv = self->vm->machine->hyperv;

	if (hyperv && exit->msr.index >= HV_MSR_FIRST && exit->msr.index <= HV_MSR_LAST) {
		hyperv_msr(hyperv, self->vp, exit);
		return;
	}

	exit->msr.fault = synthetic;
	if (!exit->msr.write)
		exit->msr.data = 0;
	log_debug("VP %u: %s MSR %#x%s", self->vp->index, exit->msr.write ? "writes" : "reads",
		  exit->msr.index, synthetic ? ": #GP" : ", which is not there: ignored");
}

static void handle_hypercall(struct vp_thread *self, struct vp_exit *exit)
{
	struct machine *machine = self->vm->machine;

	if (!machine->hyperv || !hyperv_hypercall(machine->hyperv, self->vp))
		chipset_pio(machine->chipset, exit);
}

static void handle_eoi(struct vp_thread *self, struct vp_exit *exit)
{
	chipset_eoi(self->vm->machine->chipset, exit->eoi.vector);
}

static const char *exception_name(uint8_t vector)
{
	static const char *const names[] = {"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM",
					    "#DF", NULL,  "#TS", "#NP", "#SS", "#GP", "#PF", NULL,
					    "#MF", "#AC", "#MC", "#XM", "#VE", "#CP"};

	return vector < ARRAY_SIZE(names) && names[vector] ? names[vector] : "exception";
}

static void handle_shutdown(struct vp_thread *self, struct vp_exit *exit)
{
	char last[64] = "last exception unknown";

	if (exit->shutdown.vector != 0xff)
		snprintf(last, sizeof(last), "last exception %s (%u) error %#x",
			 exception_name(exit->shutdown.vector), exit->shutdown.vector,
			 exit->shutdown.error);
	end_boot(self->vm, VM_CRASHED, 0, "VP %u triple fault at RIP %#llx, CR2 %#llx, %s",
		 self->vp->index, (unsigned long long)exit->shutdown.rip,
		 (unsigned long long)exit->shutdown.cr2, last);
}

static void handle_cancelled(struct vp_thread *self, struct vp_exit *exit)
{
	/* The thread's loop looks at vm->ending; a stray signal is no reason to stop. */
}

static void handle_failed(struct vp_thread *self, struct vp_exit *exit)
{
	end_boot(self->vm, VM_FAILED, 0, "VP %u at RIP %#llx: %.*s", self->vp->index,
		 (unsigned long long)exit->failed.rip, (int)sizeof(exit->failed.why),
		 exit->failed.why);
}

static void (*const exit_handlers[])(struct vp_thread *self, struct vp_exit *exit) = {
	[VP_EXIT_PIO] = handle_pio,
	[VP_EXIT_MMIO] = handle_mmio,
	[VP_EXIT_MSR] = handle_msr,
	[VP_EXIT_HYPERCALL] = handle_hypercall,
	[VP_EXIT_EOI] = handle_eoi,
	[VP_EXIT_SHUTDOWN] = handle_shutdown,
	[VP_EXIT_CANCELLED] = handle_cancelled,
	[VP_EXIT_FAILED] = handle_failed,
};

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
			end_boot(self->vm, VM_FAILED, 0, "VP %u cannot run: %s", self->vp->index,
				 strerror(-r));
			break;
		}
		exit_handlers[self->exit.reason](self, &self->exit);
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

static void start_threads(struct vm *vm)
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
			end_boot(vm, VM_FAILED, 0, "cannot start the thread of VP %u: %s", i,
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
	while (vm->running && !pthread_cond_clockwait(&vm->idle, &vm->lock, CLOCK_MONOTONIC,
						      &deadline))
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
static void join_threads(struct vm *vm)
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

/* --- a boot, and the next --- */

static void take_stats(struct vm *vm)
{
	vm->result.stat_count =
		partition_get_stats(vm->machine->part, vm->result.stats, VM_MAX_STATS);
}

static void free_machine(struct vm *vm)
{
	vm->paused = vm->time_stopped =
		false; /* nothing to resume while its devices come to rest */
	machine_free(vm->machine);
	vm->machine = NULL;
	drives_machine_gone(vm->drives);
	vm->paused = false;
	loop_work_cancel(vm->config.loop, &vm->all_parked);
}

static int run_boot(struct vm *vm, struct vm_error *error)
{
	const struct chipset_events events = {.power_off = on_power_off,
					      .reset = on_reset,
					      .debug_exit = on_debug_exit,
					      .ctx = vm};
	const struct hyperv_events hyperv_events = {
		.reset = on_reset, .crash = on_crash, .disk_full = on_disk_full, .ctx = vm};
	int r;

	r = machine_new(&vm->config, &events, &hyperv_events, &vm->machine, error);
	if (r >= 0 && vm->machine->hyperv)
		r = drives_attach_all(vm->drives, vm->machine->hyperv, error);
	if (r < 0) {
		free_machine(vm);
		return r;
	}
	vm->boots++;
	vm->booted_ns = monotonic_ns();
	if (vm->config.starting)
		vm->config.starting(vm->config.starting_ctx);
	vm->config.starting = NULL;
	start_threads(vm);
	/* A loop_stop() of the boot before may be left over. */
	do {
		r = loop_run(vm->config.loop);
	} while (!r && !vm->ending);
	if (r < 0)
		end_boot(vm, VM_FAILED, 0, "the event loop failed: %s", strerror(-r));
	join_threads(vm);
	take_stats(vm);
	if (vm->config.serial_closing)
		vm->config.serial_closing(vm->config.serial.ctx);
	uart_flush(vm->machine->pc.com1);
	free_machine(vm);
	return 0;
}

/* The loop's thread, no VP thread: true when the guest asked for a reboot and gets it. */
static bool reboot_wanted(struct vm *vm)
{
	bool wanted;

	pthread_mutex_lock(&vm->lock);
	wanted = vm->has_result && vm->result.outcome == VM_RESET && !vm->config.no_reboot;
	if (wanted) {
		vm->has_result = false;
		vm->ending = false;
	}
	pthread_mutex_unlock(&vm->lock);
	return wanted;
}

static void pause_over(void *ctx)
{
	loop_stop(ctx);
}

/*
 * Serve the loop for a moment between two boots: a guest that resets at its first instruction
 * would otherwise stop the loop before it ever looked at the terminal.
 */
static int pause_for_terminal(struct vm *vm)
{
	struct loop *loop = vm->config.loop;
	struct loop_timer *timer;
	int r = loop_timer_new(loop, pause_over, loop, &timer);

	if (r < 0)
		return r;
	loop_timer_arm_ns(timer, monotonic_ns() + REBOOT_PAUSE_NS);
	r = loop_run(loop);
	loop_timer_free(timer);
	return r;
}

static int open_drives(struct vm *vm, struct vm_error *error)
{
	for (size_t i = 0; i < vm->config.drive_count; i++) {
		int r = drives_add(vm->drives, &vm->config.drives[i], NULL, error);

		if (r < 0)
			return r;
	}
	return 0;
}

int vm_run(struct vm *vm, struct vm_result *ret_result, struct vm_error *ret_error)
{
	int r = open_drives(vm, ret_error);

	if (r < 0)
		return r;
	do {
		r = run_boot(vm, ret_error);
		if (r < 0)
			return r;
		if (!reboot_wanted(vm))
			break;
		r = pause_for_terminal(vm);
		if (r < 0)
			return vm_fail(ret_error, r, BLAME_HOST, "cannot reboot: %s", strerror(-r));
	} while (!vm->ending);
	*ret_result = vm->result;
	return 0;
}

size_t vm_serial_input(struct vm *vm, const uint8_t *bytes, size_t n)
{
	return vm->machine ? uart_receive(vm->machine->pc.com1, bytes, n) : 0;
}

void vm_serial_output_ready(struct vm *vm)
{
	if (vm->machine)
		uart_output_ready(vm->machine->pc.com1);
}

/* --- for the control socket --- */

/* NULL while there is no machine, or it is on its way out. */
static struct hyperv *live_hyperv(struct vm *vm)
{
	return vm->machine && !vm->ending ? vm->machine->hyperv : NULL;
}

static enum vm_state state_of(const struct vm *vm)
{
	if (!vm->machine)
		return VM_STATE_STARTING;
	if (vm->ending)
		return VM_STATE_ENDING;
	return drives_full_path(vm->drives) ? VM_STATE_WAITING_FOR_SPACE : VM_STATE_RUNNING;
}

void vm_get_status(struct vm *vm, struct vm_status *ret_status)
{
	*ret_status = (struct vm_status){
		.state = state_of(vm),
		.uptime_ns = vm->machine ? monotonic_ns() - vm->booted_ns : 0,
		.boots = vm->boots,
		.vp_count = vm->config.vp_count,
		.memory_bytes = vm->config.memory_bytes,
		.engine = vm->config.engine->name,
	};
	if (drives_full_path(vm->drives))
		snprintf(ret_status->why, sizeof(ret_status->why),
			 "the host has no room for %s to grow", drives_full_path(vm->drives));
	if (live_hyperv(vm))
		hyperv_get_status(live_hyperv(vm), &ret_status->guest_os_id,
				  &ret_status->vmbus_version);
	pthread_mutex_lock(&vm->lock);
	memcpy(ret_status->crash, vm->crash, sizeof(vm->crash));
	pthread_mutex_unlock(&vm->lock);
}

struct ic *vm_ic(struct vm *vm)
{
	struct hyperv *hyperv = live_hyperv(vm);

	return hyperv ? hyperv_ic(hyperv) : NULL;
}

void vm_press_power_button(struct vm *vm)
{
	if (vm->machine)
		pc_press_power_button(&vm->machine->pc);
}

size_t vm_drives(struct vm *vm, struct vm_drive *drives, size_t max)
{
	return drives_list(vm->drives, drives, max);
}

int vm_attach_drive(struct vm *vm, const struct vm_drive *drive, struct vm_error *ret_error)
{
	struct hyperv *hyperv = live_hyperv(vm);

	if (!hyperv)
		return vm_fail(ret_error, -ENOTSUP, BLAME_DRIVE,
			       "the guest has no Hyper-V interface, or is ending");
	if (drive->bus == VM_BUS_IDE)
		return vm_fail(ret_error, -ENOTSUP, BLAME_DRIVE,
			       "IDE drives cannot be added to a running guest; use SCSI");
	return drives_add(vm->drives, drive, hyperv, ret_error);
}

int vm_detach_drive(struct vm *vm, enum vm_bus bus, unsigned int controller, unsigned int lun,
		    void (*done)(void *ctx), void *ctx)
{
	const struct vm_drive place = {.bus = bus, .controller = controller, .lun = lun};
	struct hyperv *hyperv = live_hyperv(vm);

	if (bus == VM_BUS_IDE)
		return -ENOTSUP; /* a guest looks at those once, at its start */
	return hyperv ? drives_remove(vm->drives, &place, hyperv, done, ctx) : -ENOENT;
}

int vm_change_medium(struct vm *vm, enum vm_bus bus, unsigned int controller, unsigned int lun,
		     const char *path, struct vm_error *ret_error)
{
	const struct vm_drive place = {.bus = bus, .controller = controller, .lun = lun};
	struct hyperv *hyperv = live_hyperv(vm);

	if (!hyperv)
		return vm_fail(ret_error, -ENOENT, BLAME_DRIVE,
			       "the guest has no Hyper-V interface, or is ending");
	return drives_change_medium(vm->drives, &place, path, hyperv, ret_error);
}

int vm_new(const struct vm_config *config, struct vm **ret_vm)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return -ENOMEM;
	if (drives_new(&vm->drives) < 0) {
		free(vm);
		return -ENOMEM;
	}
	vm->config = *config;
	vm->all_parked.run = when_all_parked;
	pthread_mutex_init(&vm->lock, NULL);
	pthread_cond_init(&vm->resume, NULL);
	pthread_cond_init(&vm->idle, NULL);
	*ret_vm = vm;
	return 0;
}

void vm_free(struct vm *vm)
{
	if (!vm)
		return;
	drives_free(vm->drives);
	pthread_cond_destroy(&vm->idle);
	pthread_cond_destroy(&vm->resume);
	pthread_mutex_destroy(&vm->lock);
	free(vm);
}
