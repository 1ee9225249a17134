/*
 * serial.c - the serial port's other end
 *
 * Output: VP threads put bytes into a ring (writer.lock), the writer thread takes them out with
 * write(2), which may block as long as it likes. What happened there (room again, all written,
 * an error) reaches the loop as a bit in `notes` and a count in an eventfd; so does the UART's
 * word that it can take input again, which comes with the chipset lock held.
 *
 * Input: bytes wait in `pending` until the UART takes them. A terminal is always read, since
 * the escape key must work while the guest does not; when pending is full, typed bytes are
 * dropped. A pipe or a file is read only when pending is empty.
 *
 * A pseudoterminal that nobody has open swallows output, as an unplugged serial port does.
 */
#include "serial.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "terminal.h"

#define RING_BYTES	 (128 * KIB)
#define OUTPUT_LIMIT	 (64 * KIB) /* the rest of the ring is the reserve for the last words */
#define WRITE_BYTES	 4096u
#define PENDING_BYTES	 4096u
#define PTY_RETRY_NS	 100000000u
#define INTERRUPT_SIGNAL (SIGRTMAX - 1) /* no engine's */

enum { NOTE_ROOM = 1, NOTE_EMPTY = 2, NOTE_FAILED = 4, NOTE_INPUT_ROOM = 8 };

struct writer {
	pthread_t thread;
	bool started;
	int fd;
	bool is_pty;
	pthread_mutex_t lock; /* of the rest */
	pthread_cond_t filled;
	uint8_t ring[RING_BYTES];
	size_t head, count, limit;
	bool wants_room;
	bool stopping;
	int error;
};

struct serial {
	struct loop *loop;
	struct serial_events events;
	struct writer writer;

	int event_fd;
	_Atomic unsigned int notes;
	struct loop_source *event_source;
	bool draining;

	int input_fd; /* -1: there is no input */
	bool is_terminal, input_is_file, input_ended;
	struct loop_source *input_source;
	struct loop_timer *retry_timer; /* pty: look again whether somebody opened it */
	struct escape escape;
	uint8_t pending[PENDING_BYTES];
	size_t pending_count;
	int own_fd;	     /* closed at the end; -1: none */
	char name[PATH_MAX]; /* of the pseudoterminal */
};

static void note(struct serial *serial, unsigned int bits)
{
	uint64_t one = 1;

	atomic_fetch_or(&serial->notes, bits);
	if (write(serial->event_fd, &one, sizeof(one)) < 0) {
		/* EAGAIN: the counter is full, the loop wakes anyway. */
	}
}

/* --- output: VP threads --- */

static size_t output(void *ctx, const uint8_t *bytes, size_t n)
{
	struct serial *serial = ctx;
	struct writer *writer = &serial->writer;
	size_t taken = 0;

	pthread_mutex_lock(&writer->lock);
	if (writer->error)
		taken = n;
	while (taken < n && writer->count < writer->limit) {
		writer->ring[(writer->head + writer->count) % RING_BYTES] = bytes[taken++];
		writer->count++;
	}
	writer->wants_room = taken < n;
	pthread_cond_signal(&writer->filled);
	pthread_mutex_unlock(&writer->lock);
	return taken;
}

void serial_closing(void *ctx)
{
	struct serial *serial = ctx;

	pthread_mutex_lock(&serial->writer.lock);
	serial->writer.limit = RING_BYTES;
	pthread_mutex_unlock(&serial->writer.lock);
}

/* --- output: the writer thread --- */

/* Waits for bytes; returns those that lie in one piece, 0: stop. They stay in the ring. */
static size_t wait_for_bytes(struct writer *writer, const uint8_t **ret_bytes)
{
	size_t n;

	pthread_mutex_lock(&writer->lock);
	while (!writer->count && !writer->stopping)
		pthread_cond_wait(&writer->filled, &writer->lock);
	n = MIN(MIN(writer->count, RING_BYTES - writer->head), WRITE_BYTES);
	*ret_bytes = writer->ring + writer->head;
	if (writer->stopping)
		n = 0;
	pthread_mutex_unlock(&writer->lock);
	return n;
}

/* Takes @n written bytes out and tells the loop what that changed. */
static void bytes_written(struct serial *serial, size_t n, int error)
{
	struct writer *writer = &serial->writer;
	unsigned int bits = 0;

	pthread_mutex_lock(&writer->lock);
	if (error) {
		writer->error = error;
		n = writer->count;
		bits |= NOTE_FAILED;
	}
	writer->head = (writer->head + n) % RING_BYTES;
	writer->count -= n;
	if (!writer->count)
		bits |= NOTE_EMPTY;
	if (writer->wants_room && writer->count <= OUTPUT_LIMIT / 2) {
		writer->wants_room = false;
		bits |= NOTE_ROOM;
	}
	pthread_mutex_unlock(&writer->lock);
	if (bits)
		note(serial, bits);
}

/* Bytes that are done with, written or swallowed; or -errno. */
static ssize_t write_some(struct writer *writer, const uint8_t *bytes, size_t n)
{
	struct pollfd ready = {.fd = writer->fd, .events = POLLOUT};
	ssize_t written;

	if (writer->is_pty && poll(&ready, 1, 0) >= 0 && (ready.revents & POLLHUP))
		return n;
	written = write(writer->fd, bytes, n);
	if (written >= 0)
		return written;
	if (errno == EAGAIN) {
		poll(&ready, 1, 100);
		return 0;
	}
	return errno == EINTR ? 0 : -errno;
}

static void *run_writer(void *ctx)
{
	struct serial *serial = ctx;
	const uint8_t *bytes;
	size_t n;

	while ((n = wait_for_bytes(&serial->writer, &bytes))) {
		ssize_t written = write_some(&serial->writer, bytes, n);

		bytes_written(serial, MAX(written, 0), MIN(written, 0));
	}
	return NULL;
}

static void on_interrupt(int signal)
{
	/* Only to end a write(2) with EINTR. */
}

static int start_writer(struct serial *serial, int fd, bool is_pty)
{
	const struct sigaction action = {.sa_handler = on_interrupt};
	int r;

	serial->writer.fd = fd;
	serial->writer.is_pty = is_pty;
	sigaction(INTERRUPT_SIGNAL, &action, NULL);
	r = pthread_create(&serial->writer.thread, NULL, run_writer, serial);
	serial->writer.started = !r;
	return -r;
}

/* --- input: the loop's thread --- */

static void show_help(void)
{
	log_warning("Ctrl-] q: quit; Ctrl-] Ctrl-]: send Ctrl-]; Ctrl-] h: this help");
}

static void input_over(struct serial *serial)
{
	serial->input_ended = true;
	loop_source_remove(serial->input_source);
	serial->input_source = NULL;
	if (serial->is_terminal)
		serial->events.quit(serial->events.ctx);
}

/* The pty's other side is closed: stop watching, or the hang-up would wake us without end. */
static void wait_for_opener(struct serial *serial)
{
	loop_source_remove(serial->input_source);
	serial->input_source = NULL;
	loop_timer_arm_ns(serial->retry_timer, monotonic_ns() + PTY_RETRY_NS);
}

/* Returns false when there is no more to read now. */
static bool read_input(struct serial *serial)
{
	uint8_t spill[256]; /* a terminal is read even when nothing more fits */
	size_t room = PENDING_BYTES - serial->pending_count;
	uint8_t *at = room ? serial->pending + serial->pending_count : spill;
	ssize_t got = read(serial->input_fd, at, room ?: sizeof(spill));
	enum escape_action action = ESCAPE_NONE;

	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return false;
	if (got < 0 && errno == EIO && serial->writer.is_pty) {
		wait_for_opener(serial);
		return false;
	}
	if (got <= 0) {
		input_over(serial);
		return false;
	}
	if (serial->is_terminal)
		got = escape_filter(&serial->escape, at, got, &action);
	if (room)
		serial->pending_count += got;
	if (action == ESCAPE_QUIT)
		serial->events.quit(serial->events.ctx);
	else if (action == ESCAPE_HELP)
		show_help();
	return true;
}

static void feed_guest(struct serial *serial)
{
	size_t taken;

	if (!serial->pending_count)
		return;
	taken = serial->events.input(serial->events.ctx, serial->pending, serial->pending_count);
	serial->pending_count -= taken;
	memmove(serial->pending, serial->pending + taken, serial->pending_count);
}

/*
 * A pipe is watched only while the guest keeps up; a terminal always. A hang-up is reported even
 * when nothing is asked for: edge-triggered, that is once.
 */
static void watch_input(struct serial *serial)
{
	if (serial->input_source && !serial->is_terminal)
		loop_source_set_events(serial->input_source,
				       serial->pending_count ? EPOLLET : EPOLLIN);
}

static void on_input(void *ctx, uint32_t events)
{
	struct serial *serial = ctx;

	if (serial->pending_count && !serial->is_terminal)
		return; /* a hang-up; what waits in the pipe is read later */
	read_input(serial);
	feed_guest(serial);
	watch_input(serial);
}

/* The guest has taken something: give it what waits, and read on. */
static void pump_input(struct serial *serial)
{
	feed_guest(serial);
	while (serial->input_is_file && !serial->input_ended && !serial->pending_count &&
	       read_input(serial))
		feed_guest(serial);
	watch_input(serial);
}

static void input_room(void *ctx)
{
	note(ctx, NOTE_INPUT_ROOM);
}

static int watch_fd(struct serial *serial)
{
	int r = loop_add_fd(serial->loop, serial->input_fd, EPOLLIN, on_input, serial,
			    &serial->input_source);

	if (r != -EPERM)
		return r;
	/* A file is always ready; the first read happens when the loop runs. */
	serial->input_is_file = true;
	note(serial, NOTE_INPUT_ROOM);
	return 0;
}

static void look_for_opener(void *ctx)
{
	struct serial *serial = ctx;
	struct pollfd state = {.fd = serial->input_fd, .events = POLLIN};

	if (poll(&state, 1, 0) > 0 && (state.revents & POLLHUP) && !(state.revents & POLLIN)) {
		loop_timer_arm_ns(serial->retry_timer, monotonic_ns() + PTY_RETRY_NS);
		return;
	}
	if (watch_fd(serial) < 0)
		log_warning("the pseudoterminal can no longer be read");
}

/* --- notes from other threads --- */

static void on_notes(void *ctx, uint32_t events)
{
	struct serial *serial = ctx;
	unsigned int bits;
	uint64_t count;

	if (read(serial->event_fd, &count, sizeof(count)) < 0)
		return;
	bits = atomic_exchange(&serial->notes, 0);
	if (bits & NOTE_FAILED)
		serial->events.output_failed(serial->events.ctx, serial->writer.error);
	if (bits & NOTE_ROOM)
		serial->events.output_ready(serial->events.ctx);
	if (bits & NOTE_INPUT_ROOM)
		pump_input(serial);
	if ((bits & NOTE_EMPTY) && serial->draining)
		loop_stop(serial->loop);
}

static bool output_waits(struct serial *serial)
{
	bool waits;

	pthread_mutex_lock(&serial->writer.lock);
	waits = serial->writer.count != 0;
	pthread_mutex_unlock(&serial->writer.lock);
	return waits;
}

void serial_abandon(struct serial *serial)
{
	serial->draining = false;
	loop_stop(serial->loop);
}

void serial_drain(struct serial *serial)
{
	serial->draining = true;
	while (serial->draining && output_waits(serial)) {
		if (loop_run(serial->loop) < 0)
			break;
	}
	serial->draining = false;
}

/* --- opening --- */

static int open_stdio(struct serial *serial, const char *argument)
{
	int r = start_writer(serial, STDOUT_FILENO, false);

	if (r < 0)
		return r;
	serial->input_fd = STDIN_FILENO;
	serial->is_terminal = isatty(STDIN_FILENO);
	if (serial->is_terminal)
		r = terminal_set_raw(STDIN_FILENO);
	return r < 0 ? r : watch_fd(serial);
}

/* Opening and closing the slave once makes the master report that nobody has it open. */
static int prepare_slave(const char *name)
{
	struct termios mode;
	int fd = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (!tcgetattr(fd, &mode)) {
		cfmakeraw(&mode);
		tcsetattr(fd, TCSANOW, &mode);
	}
	close(fd);
	return 0;
}

static int open_pty(struct serial *serial, const char *argument)
{
	int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	int r;

	if (fd < 0)
		return -errno;
	serial->own_fd = fd;
	if (grantpt(fd) < 0 || unlockpt(fd) < 0 ||
	    ptsname_r(fd, serial->name, sizeof(serial->name)))
		return -errno;
	r = prepare_slave(serial->name);
	if (r < 0)
		return r;
	serial->input_fd = fd;
	r = start_writer(serial, fd, true);
	if (r < 0)
		return r;
	r = loop_timer_new(serial->loop, look_for_opener, serial, &serial->retry_timer);
	if (r < 0)
		return r;
	loop_timer_arm_ns(serial->retry_timer, 0);
	return 0;
}

static int open_file(struct serial *serial, const char *argument)
{
	int fd = open(argument, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);

	if (fd < 0)
		return -errno;
	serial->own_fd = fd;
	return start_writer(serial, fd, false);
}

static int open_none(struct serial *serial, const char *argument)
{
	return 0;
}

static const struct {
	const char *prefix;
	int (*open)(struct serial *serial, const char *argument);
} kinds[] = {
	{"stdio", open_stdio},
	{"pty", open_pty},
	{"file:", open_file},
	{"none", open_none},
};

static int open_kind(struct serial *serial, const char *where)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		size_t length = strlen(kinds[i].prefix);

		if (!strncmp(where, kinds[i].prefix, length))
			return kinds[i].open(serial, where + length);
	}
	return -EINVAL;
}

static int prepare(struct serial *serial)
{
	serial->input_fd = -1;
	serial->own_fd = -1;
	serial->writer.limit = OUTPUT_LIMIT;
	pthread_mutex_init(&serial->writer.lock, NULL);
	pthread_cond_init(&serial->writer.filled, NULL);
	serial->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (serial->event_fd < 0)
		return -errno;
	return loop_add_fd(serial->loop, serial->event_fd, EPOLLIN, on_notes, serial,
			   &serial->event_source);
}

int serial_new(const char *where, struct loop *loop, const struct serial_events *events,
	       struct serial **ret_serial)
{
	struct serial *serial = calloc(1, sizeof(*serial));
	int r;

	if (!serial)
		return -ENOMEM;
	serial->loop = loop;
	serial->events = *events;
	r = prepare(serial);
	if (r >= 0)
		r = open_kind(serial, where);
	if (r < 0) {
		serial_free(serial);
		return r;
	}
	*ret_serial = serial;
	return 0;
}

const char *serial_name(const struct serial *serial)
{
	return serial->name;
}

struct uart_backend serial_backend(struct serial *serial)
{
	return (struct uart_backend){
		.write = serial->writer.started ? output : NULL,
		.input_room = input_room,
		.ctx = serial,
	};
}

/* A signal may come just before the write it is for, so it is sent until the thread has ended. */
static void interrupt_writer(struct writer *writer)
{
	struct timespec patience;

	do {
		pthread_kill(writer->thread, INTERRUPT_SIGNAL);
		clock_gettime(CLOCK_REALTIME, &patience);
		patience.tv_nsec += 5000000;
		if (patience.tv_nsec >= 1000000000) {
			patience.tv_sec++;
			patience.tv_nsec -= 1000000000;
		}
	} while (pthread_timedjoin_np(writer->thread, NULL, &patience));
}

static void stop_writer(struct writer *writer)
{
	pthread_mutex_lock(&writer->lock);
	writer->stopping = true;
	pthread_cond_signal(&writer->filled);
	pthread_mutex_unlock(&writer->lock);
	if (writer->started)
		interrupt_writer(writer);
	pthread_cond_destroy(&writer->filled);
	pthread_mutex_destroy(&writer->lock);
}

void serial_free(struct serial *serial)
{
	if (!serial)
		return;
	stop_writer(&serial->writer);
	loop_source_remove(serial->input_source);
	loop_source_remove(serial->event_source);
	loop_timer_free(serial->retry_timer);
	if (serial->is_terminal)
		terminal_restore();
	if (serial->own_fd >= 0)
		close(serial->own_fd);
	if (serial->event_fd >= 0)
		close(serial->event_fd);
	free(serial);
}
