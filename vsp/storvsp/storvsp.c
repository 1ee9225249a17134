/*
 * storvsp.c - controllers: creation, attaching and detaching of drives, writes that wait for room
 *
 * Calls come from the main loop, drives belong to the I/O thread: a call changes them in
 * loop_thread_call(), while both threads are at one place. What takes longer, the end of the
 * commands that still use a drive or a medium, comes back to the main loop as a departure.
 *
 * A write that finds the host's file system full waits in storvsp->waiting. Once a second, and when
 * asked to, all that wait are tried again. The user is told when the first of a drive waits and
 * when the last of them is over.
 */
#include "storvsp_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "vmbus_protocol.h"

#define QUEUE_DEPTH    256
#define RETRY_AFTER_NS 1000000000ull

/* A medium or a drive that is leaving: freed on the main loop after done(). */
struct departure {
	struct loop_work work;
	struct storvsp *storvsp;
	void (*done)(void *ctx);
	void *ctx;
	void (*free)(struct departure *departure);
	struct departure *next;
};

struct medium {
	struct scsi_medium scsi;
	struct departure departure;
};

struct drive {
	struct scsi_unit unit;
	struct storvsp *storvsp;
	struct departure departure;

	unsigned int starved; /* commands that found no room and are not over */
	atomic_bool full;
	struct loop_work full_work; /* main loop */
	bool full_told;		    /* main loop */
	const char *path;
};

static struct drive *drive_of(struct scsi_unit *unit)
{
	return container_of(unit, struct drive, unit);
}

/* --- departures --- */

static void depart(struct loop_work *work)
{
	struct departure *departure = container_of(work, struct departure, work);
	struct departure **at = &departure->storvsp->departures;

	while (*at != departure)
		at = &(*at)->next;
	*at = departure->next;
	if (departure->done)
		departure->done(departure->ctx);
	departure->free(departure);
}

/* Main loop. Ready to be posted, from any thread. */
static void prepare_departure(struct storvsp *storvsp, struct departure *departure,
			      void (*done)(void *ctx), void *ctx)
{
	departure->work.run = depart;
	departure->storvsp = storvsp;
	departure->done = done;
	departure->ctx = ctx;
	departure->next = storvsp->departures;
	storvsp->departures = departure;
}

static void post_departure(struct departure *departure)
{
	loop_post(departure->storvsp->config.loop, &departure->work);
}

static void free_medium(struct departure *departure)
{
	free(container_of(departure, struct medium, departure));
}

static void free_drive(struct departure *departure)
{
	struct drive *drive = container_of(departure, struct drive, departure);

	loop_work_cancel(drive->storvsp->config.loop, &drive->full_work);
	if (drive->unit.medium)
		free(container_of(drive->unit.medium, struct medium, scsi));
	free(drive);
}

static void medium_idle(struct scsi_medium *medium)
{
	post_departure(&container_of(medium, struct medium, scsi)->departure);
}

static void drive_idle(struct scsi_unit *unit)
{
	post_departure(&drive_of(unit)->departure);
}

/* --- writes that wait for room --- */

static void tell_full(struct loop_work *work)
{
	struct drive *drive = container_of(work, struct drive, full_work);
	const struct storvsp_config *config = &drive->storvsp->config;
	bool full = atomic_load(&drive->full);

	if (full == drive->full_told)
		return;
	drive->full_told = full;
	if (config->disk_full)
		config->disk_full(config->ctx, drive->path, full);
}

static void set_full(struct drive *drive, bool full)
{
	atomic_store(&drive->full, full);
	loop_post(drive->storvsp->config.loop, &drive->full_work);
}

static void wait_for_room(struct storvsp *storvsp, struct scsi_command *command)
{
	if (!storvsp->waiting)
		loop_timer_arm_ns(storvsp->retry_timer, monotonic_ns() + RETRY_AFTER_NS);
	command->next = NULL;
	*storvsp->waiting_end = command;
	storvsp->waiting_end = &command->next;
}

static struct scsi_command *take_waiting(struct storvsp *storvsp)
{
	struct scsi_command *commands = storvsp->waiting;

	storvsp->waiting = NULL;
	storvsp->waiting_end = &storvsp->waiting;
	return commands;
}

static void starved(struct scsi_command *command)
{
	struct drive *drive = drive_of(command->unit);

	if (command->starvations == 1 && drive->starved++ == 0)
		set_full(drive, true);
	if (drive->unit.idle || storvsp_request_of(command)->channel->closing)
		scsi_cancel(command);
	else
		wait_for_room(drive->storvsp, command);
}

static void fed(struct scsi_command *command)
{
	struct drive *drive = drive_of(command->unit);

	if (--drive->starved == 0)
		set_full(drive, false);
}

static void retry(struct storvsp *storvsp)
{
	struct scsi_command *command = take_waiting(storvsp), *next;

	for (; command; command = next) {
		next = command->next;
		scsi_retry(command);
	}
	disk_queue_kick(storvsp->queue);
}

static void retry_posted(struct loop_work *work)
{
	retry(container_of(work, struct storvsp, retry));
}

static void retry_expired(void *ctx)
{
	retry(ctx);
}

void storvsp_retry(struct storvsp *storvsp)
{
	loop_post(storvsp->loop, &storvsp->retry);
}

void storvsp_drop_waiting(struct storvsp *storvsp, const struct storvsp_channel *channel,
			  const struct scsi_unit *unit)
{
	struct scsi_command *command = take_waiting(storvsp), *next;

	for (; command; command = next) {
		next = command->next;
		if (channel ? storvsp_request_of(command)->channel == channel
			    : command->unit == unit)
			scsi_cancel(command);
		else
			wait_for_room(storvsp, command);
	}
}

/* --- the controller --- */

static void run_turn(struct loop_work *work)
{
	storvsp_turn(container_of(work, struct storvsp, turn));
}

struct setup {
	struct storvsp *storvsp;
	int result;
};

static void set_up(void *ctx)
{
	struct setup *setup = ctx;
	struct storvsp *storvsp = setup->storvsp;

	setup->result =
		loop_timer_new(storvsp->loop, retry_expired, storvsp, &storvsp->retry_timer);
	if (setup->result == 0)
		setup->result = disk_queue_new(storvsp->loop, QUEUE_DEPTH, &storvsp->queue);
}

static void tear_down(void *ctx)
{
	struct storvsp *storvsp = ctx;

	loop_work_cancel(storvsp->loop, &storvsp->turn);
	loop_work_cancel(storvsp->loop, &storvsp->retry);
	if (storvsp->queue)
		disk_queue_free(storvsp->queue);
	if (storvsp->retry_timer)
		loop_timer_free(storvsp->retry_timer);
}

static void free_thread(struct storvsp *storvsp)
{
	loop_thread_call(storvsp->thread, tear_down, storvsp);
	loop_thread_free(storvsp->thread);
}

static int start_thread(struct storvsp *storvsp)
{
	struct setup setup = {.storvsp = storvsp};
	char name[16];
	int r;

	snprintf(name, sizeof(name), "%s %u", storvsp->config.kind == STORVSP_IDE ? "ide" : "scsi",
		 storvsp->config.number & 3);
	r = loop_thread_new(name, &storvsp->thread);
	if (r < 0)
		return r;
	storvsp->loop = loop_thread_loop(storvsp->thread);
	loop_thread_call(storvsp->thread, set_up, &setup);
	if (setup.result < 0)
		free_thread(storvsp);
	return setup.result;
}

/* Old Windows drivers read the properties, others the instance. */
static void describe_ide(struct vmbus_offer *offer, unsigned int number)
{
	struct storvsc_offer_properties properties = {
		.path_id = (uint8_t)(number >> 1),
		.target_id = number & 1,
		.flags = STORVSC_OFFER_IDE,
	};

	offer->class = (struct guid)STORVSC_CLASS_IDE;
	offer->instance = (struct guid)STORVSC_IDE_INSTANCE(number >> 1, number & 1);
	offer->flags = VMBUS_OFFER_ENUMERATE_INTERFACE;
	memcpy(offer->user_data, &properties, sizeof(properties));
}

static int offer_controller(struct storvsp *storvsp)
{
	/* Not the storvsp's own memory: the bus may name an offer after the storvsp is freed. */
	static const char *const names[][4] = {
		[STORVSP_SCSI] = {"scsi 0", "scsi 1", "scsi 2", "scsi 3"},
		[STORVSP_IDE] = {"ide 0", "ide 1", "ide 2", "ide 3"},
	};
	const struct storvsp_config *config = &storvsp->config;
	struct vmbus_offer offer = {
		.class = STORVSC_CLASS_SCSI,
		.instance = config->instance,
		.ops = &storvsp_channel_ops,
		.provider = storvsp,
		.loop = storvsp->loop,
		.name = names[config->kind][config->number],
	};
	struct vmbus_channel *channel;

	if (config->kind == STORVSP_IDE)
		describe_ide(&offer, config->number);
	return vmbus_offer(config->bus, &offer, &channel);
}

int storvsp_new(const struct storvsp_config *config, struct storvsp **ret_storvsp)
{
	struct storvsp *storvsp;
	int r;

	if (config->number > 3 || !config->loop)
		return -EINVAL;
	storvsp = calloc(1, sizeof(*storvsp));
	if (!storvsp)
		return -ENOMEM;
	storvsp->config = *config;
	storvsp->state = STORVSP_BEGIN;
	storvsp->waiting_end = &storvsp->waiting;
	storvsp->retry.run = retry_posted;
	storvsp->turn.run = run_turn;
	r = start_thread(storvsp);
	if (r < 0) {
		free(storvsp);
		return r;
	}
	r = offer_controller(storvsp);
	if (r < 0) {
		free_thread(storvsp);
		free(storvsp);
		return r;
	}
	*ret_storvsp = storvsp;
	return 0;
}

void storvsp_free(struct storvsp *storvsp)
{
	if (!storvsp)
		return;
	free_thread(storvsp);
	while (storvsp->departures) {
		struct departure *departure = storvsp->departures;

		loop_work_cancel(storvsp->config.loop, &departure->work);
		depart(&departure->work);
	}
	for (unsigned int lun = 0; lun < STORVSP_MAX_LUNS; lun++)
		if (storvsp->drives[lun])
			free_drive(&storvsp->drives[lun]->departure);
	free(storvsp);
}

/* --- drives --- */

struct scsi_unit *storvsp_unit(struct storvsp *storvsp, unsigned int lun)
{
	return lun < STORVSP_MAX_LUNS && storvsp->drives[lun] ? &storvsp->drives[lun]->unit : NULL;
}

void storvsp_power_on(struct storvsp *storvsp)
{
	for (unsigned int lun = 0; lun < STORVSP_MAX_LUNS; lun++)
		if (storvsp->drives[lun])
			scsi_power_on(&storvsp->drives[lun]->unit);
}

/* What a call does on the I/O thread. */
struct change {
	struct storvsp *storvsp;
	unsigned int lun;
	struct drive *drive;
	struct medium *medium;
	struct storvsp_stats stats;
};

static void announce(struct storvsp *storvsp)
{
	storvsp->enumerate = storvsp->state == STORVSP_READY;
	loop_post(storvsp->loop, &storvsp->turn);
}

static int new_medium(struct disk *disk, bool dvd, struct medium **ret_medium)
{
	struct medium *medium = calloc(1, sizeof(*medium));
	int r;

	if (!medium)
		return -ENOMEM;
	medium->departure.free = free_medium;
	r = scsi_medium_init(&medium->scsi, disk, dvd);
	if (r < 0) {
		free(medium);
		return r;
	}
	*ret_medium = medium;
	return 0;
}

static int new_drive(struct storvsp *storvsp, const struct storvsp_drive *config,
		     struct drive **ret_drive)
{
	struct medium *medium = NULL;
	struct drive *drive;
	int r;

	if (config->disk) {
		r = new_medium(config->disk, config->dvd, &medium);
		if (r < 0)
			return r;
	}
	drive = calloc(1, sizeof(*drive));
	if (!drive) {
		free(medium);
		return -ENOMEM;
	}
	scsi_unit_init(&drive->unit, config, medium ? &medium->scsi : NULL);
	drive->unit.queue = storvsp->queue;
	drive->unit.starved = starved;
	drive->unit.fed = fed;
	drive->storvsp = storvsp;
	drive->full_work.run = tell_full;
	drive->departure.free = free_drive;
	drive->path = medium ? medium->scsi.info.path : NULL;
	*ret_drive = drive;
	return 0;
}

static void do_attach(void *ctx)
{
	struct change *change = ctx;

	change->storvsp->drives[change->lun] = change->drive;
	announce(change->storvsp);
}

static bool drive_possible(const struct storvsp *storvsp, unsigned int lun,
			   const struct storvsp_drive *drive)
{
	if (!drive->disk && !drive->dvd)
		return false;
	/* IDE's DVD drives stay on the emulated controller. */
	if (storvsp->config.kind == STORVSP_IDE)
		return lun == 0 && !drive->dvd;
	return lun < STORVSP_MAX_LUNS;
}

int storvsp_attach(struct storvsp *storvsp, unsigned int lun, const struct storvsp_drive *drive)
{
	struct change change = {.storvsp = storvsp, .lun = lun};
	int r;

	if (!drive_possible(storvsp, lun, drive))
		return -EINVAL;
	if (storvsp->drives[lun])
		return -EEXIST;
	r = new_drive(storvsp, drive, &change.drive);
	if (r < 0)
		return r;
	loop_thread_call(storvsp->thread, do_attach, &change);
	return 0;
}

static void do_detach(void *ctx)
{
	struct change *change = ctx;
	struct scsi_unit *unit = &change->drive->unit;

	change->storvsp->drives[change->lun] = NULL;
	unit->users++; /* it stays while its waiting commands end */
	unit->idle = drive_idle;
	storvsp_drop_waiting(change->storvsp, NULL, unit);
	announce(change->storvsp);
	if (--unit->users == 0)
		drive_idle(unit);
}

int storvsp_detach(struct storvsp *storvsp, unsigned int lun, void (*done)(void *ctx), void *ctx)
{
	struct change change = {.storvsp = storvsp, .lun = lun};

	if (!storvsp_unit(storvsp, lun))
		return -ENOENT;
	change.drive = storvsp->drives[lun];
	prepare_departure(storvsp, &change.drive->departure, done, ctx);
	loop_thread_call(storvsp->thread, do_detach, &change);
	return 0;
}

static void do_change_medium(void *ctx)
{
	struct change *change = ctx;
	struct scsi_unit *unit = &change->drive->unit;
	struct scsi_medium *old = unit->medium;

	scsi_set_medium(unit, change->medium ? &change->medium->scsi : NULL);
	if (!old)
		return;
	old->idle = medium_idle;
	if (!old->users)
		medium_idle(old);
}

/* There was none: only done() is to be called, from the loop as always. */
static int depart_nothing(struct storvsp *storvsp, void (*done)(void *ctx), void *ctx)
{
	struct medium *nothing = calloc(1, sizeof(*nothing));

	if (!nothing)
		return -ENOMEM;
	nothing->departure.free = free_medium;
	prepare_departure(storvsp, &nothing->departure, done, ctx);
	post_departure(&nothing->departure);
	return 0;
}

int storvsp_change_medium(struct storvsp *storvsp, unsigned int lun, struct disk *disk,
			  void (*done)(void *ctx), void *ctx)
{
	struct scsi_unit *unit = storvsp_unit(storvsp, lun);
	struct change change = {.storvsp = storvsp, .lun = lun};
	int r = 0;

	if (!unit)
		return -ENOENT;
	if (!unit->dvd)
		return -EINVAL;
	if (disk)
		r = new_medium(disk, true, &change.medium);
	if (r < 0)
		return r;
	change.drive = storvsp->drives[lun];
	if (!unit->medium) {
		r = depart_nothing(storvsp, done, ctx);
		if (r < 0) {
			free(change.medium);
			return r;
		}
	} else {
		prepare_departure(storvsp,
				  &container_of(unit->medium, struct medium, scsi)->departure, done,
				  ctx);
	}
	loop_thread_call(storvsp->thread, do_change_medium, &change);
	return 0;
}

static void do_get_stats(void *ctx)
{
	struct change *change = ctx;

	change->stats = change->drive->unit.stats;
}

void storvsp_get_stats(struct storvsp *storvsp, unsigned int lun, struct storvsp_stats *ret_stats)
{
	struct change change = {.storvsp = storvsp, .lun = lun};

	if (storvsp_unit(storvsp, lun)) {
		change.drive = storvsp->drives[lun];
		loop_thread_call(storvsp->thread, do_get_stats, &change);
	}
	*ret_stats = change.stats;
}
