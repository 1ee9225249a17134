/*
 * run.c - runs a machine: a thread per VP, the event loop on the caller's thread
 *
 * States of a boot: running -> ending -> joined. Whoever has a reason to end it (a VP thread, a
 * device through chipset_events, vm_stop()) calls vm_end_boot(): the first reason is kept, later
 * ones are its consequences. That only takes a lock of ours and stops the loop, so it is safe
 * with the chipset lock held. The loop's thread then cancels and joins the VPs.
 *
 * A guest's reset makes a new machine from the same configuration: nothing of the old one's
 * memory, processors or devices can leak into it, and no translated code can be stale.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "vm_internal.h"

#define REBOOT_PAUSE_NS	 50000000u
#define LAST_WORDS_BYTES 3000u	     /* of a crash report */
#define CRASH_PAUSE_NS	 1000000000u /* without a report, before one is worth a line */

/* --- the end of a boot --- */

void vm_end_boot(struct vm *vm, enum vm_outcome outcome, uint32_t value, const char *format, ...)
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
	vm_end_boot(ctx, VM_POWERED_OFF, 0, "the guest powered off");
}

static void on_reset(void *ctx)
{
	vm_end_boot(ctx, VM_RESET, 0, "the guest reset the machine");
}

static void on_debug_exit(void *ctx, uint32_t value)
{
	vm_end_boot(ctx, VM_DEBUG_EXIT, value, "the guest wrote %#x to the debug exit port", value);
}

void vm_stop(struct vm *vm)
{
	vm_end_boot(vm, VM_STOPPED, 0, "stopped");
}

void vm_reset(struct vm *vm)
{
	vm_end_boot(vm, VM_RESET, 0, "reset");
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

	snprintf(report, sizeof(report),
		 "parameters %#" PRIx64 " %#" PRIx64 " %#" PRIx64 " %#" PRIx64 " %#" PRIx64, p[0],
		 p[1], p[2], p[3], p[4]);
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
		vm_pause(vm);
	} else if (drives_full_path(vm->drives)) {
		log_warning("%s: there is room again; the guest still waits for room for %s", path,
			    drives_full_path(vm->drives));
	} else {
		log_warning("%s: there is room again; the guest goes on", path);
		vm_resume(vm);
	}
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
		r = drives_attach_all(vm->drives, hyperv_controllers(vm->machine->hyperv), error);
	if (r < 0) {
		free_machine(vm);
		return r;
	}
	vm->boots++;
	vm->booted_ns = monotonic_ns();
	if (vm->config.starting)
		vm->config.starting(vm->config.starting_ctx);
	vm->config.starting = NULL;
	vm_start_vps(vm);
	/* A loop_stop() of the boot before may be left over. */
	do {
		r = loop_run(vm->config.loop);
	} while (!r && !vm->ending);
	if (r < 0)
		vm_end_boot(vm, VM_FAILED, 0, "the event loop failed: %s", strerror(-r));
	vm_join_vps(vm);
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
	vm->all_parked.run = vm_when_all_parked;
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
