/*
 * fake_vm.c - the functions of vm.h and ic.h that the control socket calls
 */
#include "fake_vm.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct fake_vm fake;

void fake_start(void)
{
	fake = (struct fake_vm){.has_services = true, .copy_fd = -1, .text = "text"};
}

static void __attribute__((format(printf, 1, 2))) say(const char *format, ...)
{
	size_t used = strlen(fake.said);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(fake.said + used, sizeof(fake.said) - used, format, arguments);
	va_end(arguments);
	used = strlen(fake.said);
	snprintf(fake.said + used, sizeof(fake.said) - used, "\n");
	fake.calls++;
}

static int wait_for(struct fake_waiting waiting)
{
	if (fake.result < 0)
		return fake.result;
	if (fake.waiting_count == FAKE_MAX_WAITING)
		return -EBUSY;
	fake.waiting[fake.waiting_count++] = waiting;
	return 0;
}

void fake_finish(int result, const char *text, size_t pairs)
{
	struct fake_waiting first = fake.waiting[0];

	memmove(fake.waiting, fake.waiting + 1, --fake.waiting_count * sizeof(first));
	fake.copy_fd = -1;
	for (size_t i = 0; first.pair && i < pairs; i++)
		first.pair(first.ctx, 0, "key", fake.text);
	if (first.pair)
		first.pair(first.ctx, result, NULL, text);
	else if (first.done)
		first.done(first.ctx, result, text);
	else
		first.removed(first.ctx);
}

/* --- vm.h --- */

void vm_get_status(struct vm *vm, struct vm_status *ret_status)
{
	*ret_status = (struct vm_status){.state = VM_STATE_RUNNING,
					 .uptime_ns = 1500000000,
					 .boots = 2,
					 .vp_count = 4,
					 .memory_bytes = GIB,
					 .engine = "dbt",
					 .guest_os_id = 0x8100000601c00000,
					 .vmbus_version = 0x50003};
	snprintf(ret_status->crash, sizeof(ret_status->crash), "%s", fake.text);
}

struct ic *vm_ic(struct vm *vm)
{
	return fake.has_services ? (struct ic *)&fake : NULL;
}

size_t vm_drives(struct vm *vm, struct vm_drive *drives, size_t max)
{
	memcpy(drives, fake.drives, fake.drive_count * sizeof(*drives));
	return fake.drive_count;
}

static int with_error(struct vm_error *error)
{
	if (fake.result < 0)
		snprintf(error->text, sizeof(error->text), "%s", fake.text);
	return fake.result;
}

int vm_attach_drive(struct vm *vm, const struct vm_drive *drive, struct vm_error *ret_error)
{
	say("attach %u:%u:%u dvd=%d ro=%d format=%u %s", drive->bus, drive->controller, drive->lun,
	    drive->dvd, drive->read_only, drive->format, drive->path ?: "nothing");
	return with_error(ret_error);
}

int vm_detach_drive(struct vm *vm, enum vm_bus bus, unsigned int controller, unsigned int lun,
		    void (*done)(void *ctx), void *ctx)
{
	say("detach %u:%u:%u", bus, controller, lun);
	return wait_for((struct fake_waiting){.removed = done, .ctx = ctx});
}

int vm_change_medium(struct vm *vm, enum vm_bus bus, unsigned int controller, unsigned int lun,
		     const char *path, struct vm_error *ret_error)
{
	say("medium %u:%u:%u %s", bus, controller, lun, path ?: "nothing");
	return with_error(ret_error);
}

void vm_press_power_button(struct vm *vm)
{
	say("power button");
}

void vm_reset(struct vm *vm)
{
	say("reset");
}

void vm_stop(struct vm *vm)
{
	say("stop");
}

/* --- ic.h --- */

void ic_get_status(const struct ic *ic, struct ic_status status[IC_SERVICE_COUNT])
{
	for (size_t i = 0; i < IC_SERVICE_COUNT; i++)
		status[i] = (struct ic_status){"service", i % 2, {3, 1}, {5, 0}};
}

void ic_get_heartbeat(const struct ic *ic, struct ic_heartbeat *ret_heartbeat)
{
	*ret_heartbeat = (struct ic_heartbeat){IC_HEARTBEAT_OK, 7, 1200000000, 1};
}

int ic_shutdown(struct ic *ic, enum ic_shutdown_kind kind, bool force, const char *reason,
		ic_done *done, void *ctx)
{
	say("shutdown %u force=%d reason=%s", kind, force, reason ?: "none");
	return wait_for((struct fake_waiting){.done = done, .ctx = ctx});
}

int ic_sync_time(struct ic *ic, bool step)
{
	say("time step=%d", step);
	return fake.result;
}

int ic_kvp_get(struct ic *ic, enum ic_kvp_pool pool, const char *key, ic_kvp_pair *pair, void *ctx)
{
	say("get %u %s", pool, key);
	return wait_for((struct fake_waiting){.pair = pair, .ctx = ctx});
}

int ic_kvp_enumerate(struct ic *ic, enum ic_kvp_pool pool, ic_kvp_pair *pair, void *ctx)
{
	say("list %u", pool);
	return wait_for((struct fake_waiting){.pair = pair, .ctx = ctx});
}

int ic_kvp_set(struct ic *ic, enum ic_kvp_pool pool, const char *key, const char *value,
	       ic_done *done, void *ctx)
{
	say("set %u %s=%s", pool, key, value);
	return wait_for((struct fake_waiting){.done = done, .ctx = ctx});
}

int ic_kvp_delete(struct ic *ic, enum ic_kvp_pool pool, const char *key, ic_done *done, void *ctx)
{
	say("delete %u %s", pool, key);
	return wait_for((struct fake_waiting){.done = done, .ctx = ctx});
}

int ic_kvp_get_ip(struct ic *ic, const char *mac, ic_kvp_pair *pair, void *ctx)
{
	say("ip %s", mac);
	return wait_for((struct fake_waiting){.pair = pair, .ctx = ctx});
}

int ic_freeze(struct ic *ic, ic_done *done, void *ctx)
{
	say("freeze");
	return wait_for((struct fake_waiting){.done = done, .ctx = ctx});
}

int ic_keep_frozen(struct ic *ic)
{
	say("keep frozen");
	return fake.result;
}

int ic_thaw(struct ic *ic, ic_done *done, void *ctx)
{
	say("thaw");
	return wait_for((struct fake_waiting){.done = done, .ctx = ctx});
}

int ic_copy_file(struct ic *ic, const struct ic_copy *copy, ic_done *done, void *ctx)
{
	int r = wait_for((struct fake_waiting){.done = done, .ctx = ctx});

	say("copy %s overwrite=%d folders=%d", copy->guest_path, copy->overwrite,
	    copy->create_directories);
	if (!r) {
		fake.copy_fd = copy->fd;
		copy->progress(ctx, 42);
	}
	return r;
}

int ic_cancel_copy(struct ic *ic)
{
	fake.cancelled_copies++;
	return 0;
}
