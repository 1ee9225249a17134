/*
 * vhd_progress.c - how far an operation of `mullion vhd` is, and its end by a signal
 *
 * On a terminal a bar with the rate and the time left, a few times a second; with --progress json a
 * line of JSON each time. SIGINT and SIGTERM ask the operation to stop; it leaves its images as
 * its contract says, and the error line follows.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "size.h"
#include "vhd.h"

#define BAR_WIDTH   40u
#define INTERVAL_NS 200000000ull

static struct {
	struct disk_progress progress;
	uint64_t began_ns, next_ns;
	bool bar, json, shown;
} shown;

static const char *duration(uint64_t seconds, char text[16])
{
	if (seconds >= 360000)
		snprintf(text, 16, "--:--");
	else if (seconds >= 3600)
		snprintf(text, 16, "%d:%02d:%02d", (int)(seconds / 3600), (int)(seconds / 60 % 60),
			 (int)(seconds % 60));
	else
		snprintf(text, 16, "%d:%02d", (int)(seconds / 60), (int)(seconds % 60));
	return text;
}

static void show_bar(uint64_t done, uint64_t total, double rate)
{
	unsigned int filled = total ? (double)done / total * BAR_WIDTH : BAR_WIDTH;
	uint64_t left = rate > 0 ? (total - done) / rate : UINT64_MAX;
	char bar[BAR_WIDTH + 1], time[16];

	memset(bar, ' ', BAR_WIDTH);
	memset(bar, '#', filled);
	bar[BAR_WIDTH] = 0;
	fprintf(stderr, "\r[%s] %3u%%  %8.1f MiB/s  %s left  ", bar,
		total ? (unsigned int)(done * 100.0 / total) : 100, rate / MIB,
		duration(left, time));
}

static void show_json(uint64_t done, uint64_t total, double rate)
{
	fprintf(stderr,
		"{\"done\": %" PRIu64 ", \"total\": %" PRIu64 ", \"bytes_per_second\": %.0f}\n",
		done, total, rate);
}

static void show(struct disk_progress *progress, uint64_t done, uint64_t total)
{
	uint64_t now = monotonic_ns();
	double rate = (double)done * 1e9 / MAX(now - shown.began_ns, 1u);

	if (now < shown.next_ns && done < total)
		return;
	shown.next_ns = now + INTERVAL_NS;
	shown.shown = true;
	if (shown.json)
		show_json(done, total, rate);
	else
		show_bar(done, total, rate);
}

static void cancel(int signal_number)
{
	atomic_store(&shown.progress.cancel, true);
}

/* Without SA_RESTART: a read of a pipe that nobody writes to ends. */
static void on_signals(void (*handler)(int))
{
	struct sigaction action = {.sa_handler = handler};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
}

struct disk_progress *vhd_progress_begin(const struct vhd_options *options)
{
	shown.json = options->progress && !strcmp(options->progress, "json");
	shown.bar = !shown.json && isatty(STDERR_FILENO) &&
		    !(options->progress && !strcmp(options->progress, "none"));
	shown.shown = false;
	shown.began_ns = monotonic_ns();
	shown.next_ns = shown.began_ns + INTERVAL_NS;
	shown.progress.report = shown.bar || shown.json ? show : NULL;
	atomic_store(&shown.progress.cancel, false);
	on_signals(cancel);
	return &shown.progress;
}

void vhd_progress_end(void)
{
	on_signals(SIG_DFL);
	if (shown.bar && shown.shown)
		fprintf(stderr, "\n");
}
