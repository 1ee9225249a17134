/*
 * run.c - `mullion run`: options to a vm_config, its result to an exit status
 *
 * Order: check and read everything that can fail while the terminal is still as it was; only
 * then block the signals, open the serial port (raw mode), and run.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "command.h"
#include "control.h"
#include "drives.h"
#include "engines.h"
#include "file.h"
#include "host.h"
#include "log.h"
#include "run_options.h"
#include "serial.h"
#include "size.h"
#include "vm.h"

#define MAX_KERNEL_BYTES GIB

static_assert(OPTION_MAX_FILES <= BOOT_MAX_INITRDS, "--initrd takes more than can be loaded");

struct session {
	const struct run_options *options;
	struct engine_choice choice;
	struct boot_file kernel;
	struct boot_file initrds[OPTION_MAX_FILES];
	struct vm_drive drives[2 * OPTION_MAX_FILES];
	size_t drive_count;
	struct control *control;
	struct loop *loop;
	struct serial *serial;
	struct vm *vm;
	int signal_fd;
	struct loop_source *signal_source;
	int signal; /* that ended the run; 0: none */
	int output_error;
	bool quit;
};

/* --- before the terminal is touched --- */

static int check_memory(const struct run_options *options)
{
	char value[SIZE_TEXT_BYTES];
	uint64_t host = host_memory_bytes();

	size_format(options->memory_bytes, value);
	if (options->memory_bytes % PAGE_BYTES) {
		log_error("--memory %s: must be a multiple of 4K", value);
		return EXIT_USAGE;
	}
	if (options->memory_bytes > host) {
		log_error("--memory %s: this host has only %" PRIu64 "M", value,
			  (uint64_t)(host / MIB));
		return EXIT_HOST_CANNOT;
	}
	return EXIT_OK;
}

/* A KVM without hardware below it runs small guests, slowly; who names it may have it. */
static bool worth_a_try(const struct engine_choice *choice)
{
	return !strcmp(choice->code, "no-hardware-virtualization");
}

static int choose_engine(struct session *session)
{
	const char *name = session->options->accel;
	struct engine_choice *choice = &session->choice;
	int r = engine_choose(engine_table, name, choice);

	if (r < 0) {
		log_error("--accel %s: no engine is usable here: %s", name, choice->why);
		return EXIT_HOST_CANNOT;
	}
	if (strcmp(name, ENGINE_AUTO) && !choice->usable && !worth_a_try(choice)) {
		log_error("--accel %s: %s (%s)", name, choice->why, choice->code);
		return EXIT_HOST_CANNOT;
	}
	return EXIT_OK;
}

static int read_file(const char *option, const char *path, uint64_t max_bytes,
		     struct boot_file *ret_file)
{
	uint8_t *bytes;
	uint64_t count;
	int r = file_load(path, max_bytes, &bytes, &count);

	if (r < 0) {
		log_error("--%s %s: %s", option, path, file_error_text(r));
		return EXIT_FAILED;
	}
	*ret_file = (struct boot_file){.name = path, .bytes = bytes, .count = count};
	return EXIT_OK;
}

static int read_files(struct session *session)
{
	const struct run_options *options = session->options;
	int status = read_file("kernel", options->kernel, MAX_KERNEL_BYTES, &session->kernel);

	for (size_t i = 0; status == EXIT_OK && i < options->initrds.count; i++)
		status = read_file("initrd", options->initrds.items[i], options->memory_bytes,
				   &session->initrds[i]);
	return status;
}

static int parse_drives(struct session *session, const char *option,
			const struct option_files *values, bool dvd)
{
	for (size_t i = 0; i < values->count; i++) {
		char reason[128];

		if (drive_parse(values->items[i], dvd, session->drives, session->drive_count,
				&session->drives[session->drive_count], reason) < 0) {
			log_error("--%s %s: %s", option, values->items[i], reason);
			return EXIT_USAGE;
		}
		session->drive_count++;
	}
	return EXIT_OK;
}

static bool shows_hyper_v(const struct session *session)
{
	return !strcmp(session->options->hypervisor, "hyper-v");
}

static int take_drives(struct session *session)
{
	const struct run_options *options = session->options;
	int status = parse_drives(session, "disk", &options->disks, false);

	if (status == EXIT_OK)
		status = parse_drives(session, "dvd", &options->dvds, true);
	if (status == EXIT_OK && session->drive_count && !shows_hyper_v(session)) {
		log_error("--hypervisor none: such a guest has no bus for disks");
		return EXIT_USAGE;
	}
	return status;
}

static void free_files(struct session *session)
{
	for (size_t i = 0; i < session->drive_count; i++)
		free((void *)session->drives[i].path);
	free((void *)session->kernel.bytes);
	for (size_t i = 0; i < ARRAY_SIZE(session->initrds); i++)
		free((void *)session->initrds[i].bytes);
}

/* --- events while it runs; all on the loop's thread --- */

/* Said only now, so that a mistake in the options is the one line on the terminal. */
static void on_starting(void *ctx)
{
	struct session *session = ctx;
	const char *name = session->options->accel;
	const struct engine_choice *choice = &session->choice;

	if (!strcmp(name, ENGINE_AUTO)) {
		log_info("%s", choice->what);
		log_info("chosen because %s", choice->why);
	} else if (!choice->usable) {
		log_warning("--accel %s: trying, although %s", name, choice->why);
	}
}

static void end_run(struct session *session)
{
	if (session->vm)
		vm_stop(session->vm);
	if (session->serial)
		serial_abandon(session->serial);
}

static size_t on_input(void *ctx, const uint8_t *bytes, size_t n)
{
	struct session *session = ctx;

	return session->vm ? vm_serial_input(session->vm, bytes, n) : 0;
}

static void on_output_ready(void *ctx)
{
	struct session *session = ctx;

	if (session->vm)
		vm_serial_output_ready(session->vm);
}

static void on_quit(void *ctx)
{
	struct session *session = ctx;

	session->quit = true;
	end_run(session);
}

static void on_output_failed(void *ctx, int error)
{
	struct session *session = ctx;

	session->output_error = error;
	end_run(session);
}

static void on_signal(void *ctx, uint32_t events)
{
	struct session *session = ctx;
	struct signalfd_siginfo info;

	if (read(session->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	session->signal = info.ssi_signo;
	end_run(session);
}

/* --- setting up --- */

static int take_signals(struct session *session)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a limit on the size of files: the guest waits for room */
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	session->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (session->signal_fd < 0)
		return -errno;
	return loop_add_fd(session->loop, session->signal_fd, EPOLLIN, on_signal, session,
			   &session->signal_source);
}

static int open_serial(struct session *session)
{
	const struct serial_events events = {
		.input = on_input,
		.output_ready = on_output_ready,
		.quit = on_quit,
		.output_failed = on_output_failed,
		.ctx = session,
	};
	const char *where = session->options->serial;
	int r = serial_new(where, session->loop, &events, &session->serial);

	if (r < 0) {
		log_error("--serial %s: %s", where, strerror(-r));
		return EXIT_FAILED;
	}
	if (*serial_name(session->serial))
		log_info("the serial port is %s", serial_name(session->serial));
	return EXIT_OK;
}

static int make_vm(struct session *session)
{
	const struct run_options *options = session->options;
	const struct vm_config config = {
		.engine = session->choice.engine,
		.loop = session->loop,
		.memory_bytes = options->memory_bytes,
		.vp_count = options->cpus.value,
		.kernel = session->kernel,
		.initrds = session->initrds,
		.initrd_count = options->initrds.count,
		.command_line = options->append,
		.no_reboot = options->no_reboot,
		.has_debug_exit = options->debug_exit.given,
		.debug_exit_port = options->debug_exit.value,
		.trace = options->trace,
		.hyper_v = shows_hyper_v(session),
		.drives = session->drives,
		.drive_count = session->drive_count,
		.serial = serial_backend(session->serial),
		.serial_closing = serial_closing,
		.starting = on_starting,
		.starting_ctx = session,
	};

	return vm_new(&config, &session->vm);
}

/* --- the end --- */

/* "--option value" for what an error blames. */
static void blame_text(const struct session *session, enum vm_blame blame, char *text, size_t size)
{
	const struct run_options *options = session->options;
	char memory[SIZE_TEXT_BYTES], port[SIZE_TEXT_BYTES];

	size_format(options->memory_bytes, memory);
	snprintf(port, sizeof(port), "%#" PRIx64, options->debug_exit.value);
	const struct {
		const char *option, *value;
	} rows[] = {
		[BLAME_KERNEL] = {"--kernel", options->kernel},
		[BLAME_INITRD] = {"--initrd",
				  options->initrds.count ? options->initrds.items[0] : ""},
		[BLAME_COMMAND_LINE] = {"--append", "STRING"},
		[BLAME_MEMORY] = {"--memory", memory},
		[BLAME_DEBUG_EXIT] = {"--debug-exit", port},
		[BLAME_DRIVE] = {"--disk", ""},
		[BLAME_DVD] = {"--dvd", ""},
		[BLAME_ENGINE] = {"--accel", session->choice.engine->name},
		[BLAME_HOST] = {"this host", ""},
	};

	snprintf(text, size, "%s%s%s", rows[blame].option, *rows[blame].value ? " " : "",
		 rows[blame].value);
}

static int report_start_error(const struct session *session, int error, const struct vm_error *why)
{
	char blamed[PATH_MAX + 32];

	blame_text(session, why->blame, blamed, sizeof(blamed));
	log_error("%s: %s", blamed, why->text);
	switch (why->blame) {
	case BLAME_ENGINE:
	case BLAME_HOST: return EXIT_HOST_CANNOT;
	case BLAME_MEMORY: return error == -ENOMEM ? EXIT_HOST_CANNOT : EXIT_FAILED;
	case BLAME_DEBUG_EXIT: return EXIT_USAGE;
	default: return EXIT_FAILED;
	}
}

static int report_stop(const struct session *session)
{
	if (session->output_error) {
		log_error("--serial %s: output cannot be written: %s", session->options->serial,
			  strerror(-session->output_error));
		return EXIT_FAILED;
	}
	if (session->signal) {
		log_error("ended by SIG%s", sigabbrev_np(session->signal));
		return EXIT_FAILED;
	}
	return EXIT_OK;
}

static int report_result(const struct session *session, const struct vm_result *result)
{
	switch (result->outcome) {
	case VM_POWERED_OFF:
	case VM_RESET: log_debug("%s", result->text); return EXIT_OK;
	case VM_DEBUG_EXIT: return (result->value << 1 | 1) & 0xff;
	case VM_CRASHED: log_error("guest crashed: %s", result->text); return EXIT_GUEST_CRASHED;
	case VM_STOPPED: return report_stop(session);
	case VM_FAILED: break;
	}
	log_error("engine %s failed: %s", session->choice.engine->name, result->text);
	return EXIT_FAILED;
}

static void show_stats(const struct vm_result *result)
{
	for (size_t i = 0; i < result->stat_count; i++)
		log_info("%16" PRIu64 "  %s", result->stats[i].value, result->stats[i].name);
}

static int open_control(struct session *session)
{
	const char *path = session->options->control;
	int r = path ? control_new(session->loop, path, session->vm, &session->control) : 0;

	if (r < 0)
		log_error("--control %s: %s", path,
			  r == -EADDRINUSE ? "another machine listens there"
			  : r == -EEXIST   ? "there is a file that is no socket; choose another path"
					   : strerror(-r));
	return r < 0 ? EXIT_FAILED : EXIT_OK;
}

static int run_vm(struct session *session)
{
	struct vm_result result;
	struct vm_error error;
	int r = make_vm(session);

	if (r < 0) {
		log_error("cannot start: %s", strerror(-r));
		return EXIT_FAILED;
	}
	r = open_control(session);
	if (r != EXIT_OK)
		return r;
	r = vm_run(session->vm, &result, &error);
	control_free(TAKE(session->control));
	if (r >= 0 && !session->quit && !session->signal)
		serial_drain(session->serial);
	serial_free(TAKE(session->serial));
	if (r < 0)
		return report_start_error(session, r, &error);
	if (session->options->stats)
		show_stats(&result);
	return report_result(session, &result);
}

static int run_in_loop(struct session *session)
{
	int r = loop_new(&session->loop), status;

	if (r >= 0)
		r = take_signals(session);
	if (r < 0) {
		log_error("cannot start: %s", strerror(-r));
		return EXIT_FAILED;
	}
	status = open_serial(session);
	return status == EXIT_OK ? run_vm(session) : status;
}

static void clean_up(struct session *session)
{
	if (session->control)
		control_free(session->control);
	serial_free(session->serial);
	vm_free(session->vm);
	loop_source_remove(session->signal_source);
	if (session->signal_fd >= 0)
		close(session->signal_fd);
	loop_free(session->loop);
	free_files(session);
}

int command_run(const void *options, const char *argument)
{
	struct session session = {.options = options, .signal_fd = -1};
	int status;

	log_set_level(session.options->verbose ? LOG_DEBUG : LOG_INFO);
	status = check_memory(session.options);
	if (status == EXIT_OK)
		status = take_drives(&session);
	if (status == EXIT_OK)
		status = choose_engine(&session);
	if (status == EXIT_OK)
		status = read_files(&session);
	if (status == EXIT_OK)
		status = run_in_loop(&session);
	clean_up(&session);
	return status;
}
