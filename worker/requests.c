/*
 * requests.c - what a client may ask for: one row a request, one row a member of it
 *
 * docs/control.md describes each for who writes a client. Requests to the guest wait for the guest;
 * the others are done at once. The integration services change at a reboot, so each request asks
 * the machine for them.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "control_internal.h"

/* --- what they share --- */

static void done(void *ctx, int result, const char *text)
{
	call_finish(ctx, result, text);
}

/* @r: of the call to the guest that was just made */
static int waits(int r)
{
	return r < 0 ? r : CALL_WAITS;
}

/* Room in the answer for so many bytes of text; escapes take up to six for one. */
static bool charge(struct call *call, size_t bytes)
{
	call->result_bytes += 6 * bytes + 64;
	return call->result_bytes < MAX_ANSWER_BYTES;
}

static bool overflowed(const struct call *call)
{
	return call->result_bytes >= MAX_ANSWER_BYTES;
}

/* --- the machine --- */

#define OPEN_SOURCE_OS BIT(63)

/*
 * What the guest OS id says, by TLFS, "HV_X64_MSR_GUEST_OS_ID": bit 63 set: system in 62:56,
 * version in 47:16, which Linux fills with its LINUX_VERSION_CODE; clear: vendor in 62:48, major
 * version in 39:32, minor in 31:24, build in 15:0.
 */
static void describe_guest(uint64_t id, char *text, size_t size)
{
	static const char *const systems[] = {
		[1] = "Linux", [2] = "FreeBSD", [3] = "Xen", [4] = "Illumos"};
	unsigned int system = id >> 56 & 0x7f, version = id >> 16;

	*text = 0;
	if (!id)
		return;
	if (!(id & OPEN_SOURCE_OS))
		snprintf(text, size, "%s %u.%u.%u",
			 (id >> 48 & 0x7fff) == 1 ? "Windows" : "version",
			 (unsigned int)(id >> 32 & 0xff), (unsigned int)(id >> 24 & 0xff),
			 (unsigned int)(id & 0xffff));
	else if (system == 1)
		snprintf(text, size, "Linux %u.%u.%u", version >> 16, version >> 8 & 0xff,
			 version & 0xff);
	else
		snprintf(text, size, "%s",
			 system < ARRAY_SIZE(systems) && systems[system] ? systems[system]
									 : "other");
}

static int get_status(struct call *call)
{
	static const char *const states[] = {
		[VM_STATE_STARTING] = "starting",
		[VM_STATE_RUNNING] = "running",
		[VM_STATE_WAITING_FOR_SPACE] = "waiting-for-space",
		[VM_STATE_ENDING] = "ending",
	};
	struct vm_status status;
	char id[20], guest[48], vmbus[16] = "";

	vm_get_status(call->control->vm, &status);
	snprintf(id, sizeof(id), "%#018" PRIx64, status.guest_os_id);
	describe_guest(status.guest_os_id, guest, sizeof(guest));
	if (status.vmbus_version)
		snprintf(vmbus, sizeof(vmbus), "%u.%u", status.vmbus_version >> 16,
			 status.vmbus_version & 0xffff);
	call->result = json_pack(
		"{s:s, s:o, s:I, s:I, s:I, s:I, s:s, s:s, s:s, s:s, s:o}", "state",
		states[status.state], "why", json_text(status.why), "uptime_ms",
		(json_int_t)(status.uptime_ns / 1000000), "boots", (json_int_t)status.boots,
		"processors", (json_int_t)status.vp_count, "memory_bytes",
		(json_int_t)status.memory_bytes, "engine", status.engine ?: "", "guest_os_id", id,
		"guest_os", guest, "vmbus", vmbus, "crash", json_text(status.crash));
	return call->result ? 0 : -ENOMEM;
}

static int press_power_button(struct call *call)
{
	vm_press_power_button(call->control->vm);
	return 0;
}

static int reset(struct call *call)
{
	vm_reset(call->control->vm);
	return 0;
}

static int stop(struct call *call)
{
	vm_stop(call->control->vm);
	return 0;
}

/* --- services --- */

static json_t *version_json(const struct ic_status *status, const uint16_t version[2])
{
	return status->open ? json_sprintf("%u.%u", version[0], version[1]) : json_null();
}

static int get_services(struct call *call)
{
	struct ic_status status[IC_SERVICE_COUNT];
	json_t *list;

	ic_get_status(call->ic, status);
	list = json_array();
	for (size_t i = 0; i < ARRAY_SIZE(status); i++)
		json_array_append_new(
			list, json_pack("{s:s, s:b, s:o, s:o}", "name", status[i].name, "open",
					status[i].open, "framework",
					version_json(&status[i], status[i].framework), "message",
					version_json(&status[i], status[i].message)));
	call->result = json_pack("{s:o}", "services", list);
	return call->result ? 0 : -ENOMEM;
}

static int get_heartbeat(struct call *call)
{
	static const char *const states[] = {[IC_HEARTBEAT_NO_CONTACT] = "no-contact",
					     [IC_HEARTBEAT_OK] = "ok",
					     [IC_HEARTBEAT_LOST] = "lost"};
	static const char *const applications[] = {"unknown", "fine", "critical"};
	struct ic_heartbeat heartbeat;
	uint32_t application;

	ic_get_heartbeat(call->ic, &heartbeat);
	application = heartbeat.application_state;
	call->result = json_pack("{s:s, s:I, s:I, s:s}", "state", states[heartbeat.state],
				 "sequence", (json_int_t)heartbeat.sequence, "age_ms",
				 (json_int_t)(heartbeat.age_ns / 1000000), "applications",
				 application < ARRAY_SIZE(applications) ? applications[application]
									: applications[0]);
	return call->result ? 0 : -ENOMEM;
}

static int shut_down(struct call *call)
{
	return waits(ic_shutdown(call->ic, (enum ic_shutdown_kind)call->arguments.kind,
				 call->arguments.force, call->arguments.reason, done, call));
}

static int sync_time(struct call *call)
{
	return ic_sync_time(call->ic, call->arguments.step);
}

static int freeze(struct call *call)
{
	return waits(ic_freeze(call->ic, done, call));
}

static int keep_frozen(struct call *call)
{
	return ic_keep_frozen(call->ic);
}

static int thaw(struct call *call)
{
	return waits(ic_thaw(call->ic, done, call));
}

/* --- KVP --- */

/* Adds {@key_name: key, "value": value} to the array @list of the result. */
static void add_pair(struct call *call, const char *list, const char *key_name, const char *key,
		     const char *value)
{
	if (!charge(call, strlen(key) + strlen(value)))
		return;
	json_array_append_new(
		json_object_get(call->result, list),
		json_pack("{s:o, s:o}", key_name, json_text(key), "value", json_text(value)));
}

static void finish_list(struct call *call, int result, const char *text)
{
	if (!result && overflowed(call))
		call_finish(call, -E2BIG, NULL);
	else
		call_finish(call, result, text);
}

static void got_one(void *ctx, int result, const char *key, const char *value)
{
	struct call *call = ctx;

	if (!key) {
		finish_list(call, result, value);
		return;
	}
	json_decref(call->result);
	call->result = json_pack("{s:o, s:o}", "key", json_text(key), "value", json_text(value));
}

static void got_pair(void *ctx, int result, const char *key, const char *value)
{
	struct call *call = ctx;

	if (key)
		add_pair(call, "pairs", "key", key, value);
	else
		finish_list(call, result, value);
}

static void got_address(void *ctx, int result, const char *key, const char *value)
{
	struct call *call = ctx;

	if (key)
		add_pair(call, "addresses", "kind", key, value);
	else
		finish_list(call, result, value);
}

static int kvp_get(struct call *call)
{
	const struct arguments *arguments = &call->arguments;

	return waits(ic_kvp_get(call->ic, (enum ic_kvp_pool)arguments->pool, arguments->key,
				got_one, call));
}

static int kvp_list(struct call *call)
{

	call->result = json_pack("{s:[]}", "pairs");
	return waits(
		ic_kvp_enumerate(call->ic, (enum ic_kvp_pool)call->arguments.pool, got_pair, call));
}

static int kvp_set(struct call *call)
{
	const struct arguments *arguments = &call->arguments;

	return waits(ic_kvp_set(call->ic, (enum ic_kvp_pool)arguments->pool, arguments->key,
				arguments->value, done, call));
}

static int kvp_delete(struct call *call)
{
	const struct arguments *arguments = &call->arguments;

	return waits(ic_kvp_delete(call->ic, (enum ic_kvp_pool)arguments->pool, arguments->key,
				   done, call));
}

static int kvp_ip(struct call *call)
{
	const char *mac = call->arguments.mac;
	int r;

	call->result = json_pack("{s:[]}", "addresses");
	r = ic_kvp_get_ip(call->ic, mac, got_address, call);
	if (r == -EINVAL)
		snprintf(call->text, sizeof(call->text),
			 "'%.40s' is no MAC address of a network adapter; one looks like "
			 "00:15:5d:01:02:03",
			 mac);
	return waits(r);
}

/* --- files --- */

static void copy_progress(void *ctx, uint64_t bytes)
{
	struct call *call = ctx;

	call->copied = bytes;
}

static void copy_done(void *ctx, int result, const char *text)
{
	struct call *call = ctx;

	call->result = json_pack("{s:I}", "bytes", (json_int_t)call->copied);
	call_finish(call, result, text);
}

static int copy_file(struct call *call)
{
	const struct ic_copy copy = {
		.fd = call->fd,
		.guest_path = call->arguments.path,
		.overwrite = call->arguments.overwrite,
		.create_directories = call->arguments.create_directories,
		.progress = copy_progress,
	};

	return waits(ic_copy_file(call->ic, &copy, copy_done, call));
}

/* There is one copy at a time, so it is this one. */
static void copy_abandoned(struct call *call)
{
	struct ic *ic = vm_ic(call->control->vm);

	if (ic)
		ic_cancel_copy(ic);
}

/* --- drives --- */

static const char *const bus_words[] = {[VM_BUS_SCSI] = "scsi", [VM_BUS_IDE] = "ide", NULL};
static const char *const format_words[] = VM_FORMAT_NAMES;

static json_t *drive_json(const struct vm_drive *drive)
{
	return json_pack("{s:s, s:I, s:I, s:s, s:b, s:o}", "bus", bus_words[drive->bus],
			 "controller", (json_int_t)drive->controller, "lun", (json_int_t)drive->lun,
			 "kind", drive->dvd ? "dvd" : "disk", "read_only", drive->read_only, "path",
			 drive->path ? json_text(drive->path) : json_null());
}

static int list_drives(struct call *call)
{
	struct vm_drive drives[VM_MAX_DRIVES];
	size_t count = vm_drives(call->control->vm, drives, ARRAY_SIZE(drives));
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, drive_json(&drives[i]));
	call->result = json_pack("{s:o}", "drives", list);
	return call->result ? 0 : -ENOMEM;
}

/* The first free place on the controller; the first of all when there is none: that fails. */
static unsigned int free_lun(struct vm *vm, const struct vm_drive *wanted)
{
	struct vm_drive drives[VM_MAX_DRIVES], place = *wanted;
	size_t count = vm_drives(vm, drives, ARRAY_SIZE(drives));

	for (place.lun = 0; place.lun < vm_luns(place.bus); place.lun++) {
		if (!vm_is_taken(drives, count, &place))
			return place.lun;
	}
	return 0;
}

static int fail_for_drive(struct call *call, int r, const struct vm_error *error)
{
	if (r < 0)
		snprintf(call->text, sizeof(call->text), "%s", error->text);
	return r;
}

static int add_drive(struct call *call)
{
	const struct arguments *arguments = &call->arguments;
	struct vm *vm = call->control->vm;
	struct vm_drive drive = {
		.bus = (enum vm_bus)arguments->bus,
		.controller = arguments->controller,
		.lun = arguments->lun,
		.dvd = arguments->dvd,
		.read_only = arguments->read_only || arguments->dvd,
		.format = (enum vm_format)arguments->format,
		.path = arguments->path,
	};
	struct vm_error error = {};
	int r;

	if (!drive.path && !drive.dvd) {
		snprintf(call->text, sizeof(call->text), "only a DVD drive can be without a path");
		return -EINVAL;
	}
	if (!arguments->has_lun)
		drive.lun = free_lun(vm, &drive);
	r = vm_attach_drive(vm, &drive, &error);
	if (!r)
		call->result = drive_json(&drive);
	return fail_for_drive(call, r, &error);
}

static void drive_removed(void *ctx)
{
	call_finish(ctx, 0, NULL);
}

static int say_no_drive(struct call *call)
{
	const struct arguments *arguments = &call->arguments;
	struct vm_drive drives[VM_MAX_DRIVES];
	size_t count = vm_drives(call->control->vm, drives, ARRAY_SIZE(drives)), used;
	size_t size = sizeof(call->text);

	used = snprintf(call->text, size, "there is no drive at %s %u:%u; there is%s",
			bus_words[arguments->bus], (unsigned int)arguments->controller,
			(unsigned int)arguments->lun, count ? "" : " none at all");
	for (size_t i = 0; i < count && used < size; i++)
		used += snprintf(call->text + used, size - used, "%s %s %u:%u", i ? "," : "",
				 bus_words[drives[i].bus], drives[i].controller, drives[i].lun);
	return -ENOENT;
}

static int remove_drive(struct call *call)
{
	const struct arguments *arguments = &call->arguments;
	int r = vm_detach_drive(call->control->vm, (enum vm_bus)arguments->bus,
				arguments->controller, arguments->lun, drive_removed, call);

	if (r == -ENOENT)
		return say_no_drive(call);
	if (r == -EBUSY)
		snprintf(call->text, sizeof(call->text), "it is being removed already");
	if (r == -ENOTSUP)
		snprintf(call->text, sizeof(call->text),
			 "a drive on IDE stays as long as the guest runs; one on SCSI can be "
			 "removed");
	return waits(r);
}

/* Ejecting is a change to nothing: such a request has no member "path". */
static int change_medium(struct call *call)
{
	const struct arguments *arguments = &call->arguments;
	struct vm_error error = {};
	int r = vm_change_medium(call->control->vm, (enum vm_bus)arguments->bus,
				 arguments->controller, arguments->lun, arguments->path, &error);

	if (r == -ENOENT && !*error.text)
		return say_no_drive(call);
	return fail_for_drive(call, r, &error);
}

/* --- the table --- */

#define AT(member) offsetof(struct arguments, member)

static const char *const shutdown_words[] = {[IC_SHUTDOWN_POWER_OFF] = "power-off",
					     [IC_SHUTDOWN_REBOOT] = "reboot",
					     [IC_SHUTDOWN_HIBERNATE] = "hibernate",
					     NULL};
static const char *const pool_words[] = {[IC_KVP_EXTERNAL] = "external",
					 [IC_KVP_GUEST] = "guest",
					 [IC_KVP_AUTO] = "auto",
					 [IC_KVP_AUTO_EXTERNAL] = "auto-external",
					 NULL};

#define POOL                                                                                       \
	.name = "pool", .type = MEMBER_CHOICE, .offset = AT(pool), .words = pool_words,            \
	.required = true
#define KEY .name = "key", .type = MEMBER_TEXT, .offset = AT(key), .required = true
#define BUS .name = "bus", .type = MEMBER_CHOICE, .offset = AT(bus), .words = bus_words
#define CONTROLLER                                                                                 \
	.name = "controller", .type = MEMBER_NUMBER, .offset = AT(controller),                     \
	.max = VM_SCSI_CONTROLLERS - 1
#define LUN                                                                                        \
	.name = "lun", .type = MEMBER_NUMBER, .offset = AT(lun), .max = VM_SCSI_LUNS - 1,          \
	.given_offset = AT(has_lun)

static const struct member shutdown_members[] = {
	{"kind", MEMBER_CHOICE, AT(kind), .words = shutdown_words},
	{"force", MEMBER_FLAG, AT(force)},
	{"reason", MEMBER_TEXT, AT(reason)},
	{}};
static const struct member time_members[] = {{"step", MEMBER_FLAG, AT(step)}, {}};
static const struct member pool_members[] = {{POOL}, {}};
static const struct member key_members[] = {{POOL}, {KEY}, {}};
static const struct member pair_members[] = {
	{POOL}, {KEY}, {"value", MEMBER_TEXT, AT(value), true}, {}};
static const struct member ip_members[] = {{"mac", MEMBER_TEXT, AT(mac), true}, {}};
static const struct member copy_members[] = {
	{"path", MEMBER_PATH, AT(path), true},
	{"overwrite", MEMBER_FLAG, AT(overwrite)},
	{"create_directories", MEMBER_FLAG, AT(create_directories)},
	{}};
static const struct member add_members[] = {
	{BUS},
	{CONTROLLER},
	{LUN},
	{"path", MEMBER_PATH, AT(path)},
	{"dvd", MEMBER_FLAG, AT(dvd)},
	{"read_only", MEMBER_FLAG, AT(read_only)},
	{"format", MEMBER_CHOICE, AT(format), .words = format_words},
	{}};
static const struct member place_members[] = {{BUS}, {CONTROLLER}, {LUN, .required = true}, {}};
static const struct member insert_members[] = {
	{BUS}, {CONTROLLER}, {LUN, .required = true}, {"path", MEMBER_PATH, AT(path), true}, {}};

const struct request request_table[] = {
	{"status", .start = get_status},
	{"power-button", .start = press_power_button},
	{"reset", .start = reset},
	{"stop", .start = stop},
	{"services", .asks_guest = true, .start = get_services},
	{"heartbeat", .asks_guest = true, .start = get_heartbeat},
	{"shutdown", .asks_guest = true, .members = shutdown_members, .start = shut_down},
	{"time-sync", .asks_guest = true, .members = time_members, .start = sync_time},
	{"freeze", .asks_guest = true, .start = freeze},
	{"keep-frozen", .asks_guest = true, .start = keep_frozen},
	{"thaw", .asks_guest = true, .start = thaw},
	{"kvp-get", .asks_guest = true, .members = key_members, .start = kvp_get},
	{"kvp-list", .asks_guest = true, .members = pool_members, .start = kvp_list},
	{"kvp-set", .asks_guest = true, .members = pair_members, .start = kvp_set},
	{"kvp-delete", .asks_guest = true, .members = key_members, .start = kvp_delete},
	{"kvp-ip", .asks_guest = true, .members = ip_members, .start = kvp_ip},
	{"copy-file", .asks_guest = true, .takes_fd = true, .members = copy_members,
	 .start = copy_file, .abandoned = copy_abandoned},
	{"disks", .start = list_drives},
	{"disk-add", .members = add_members, .start = add_drive},
	{"disk-remove", .members = place_members, .start = remove_drive},
	{"dvd-insert", .members = insert_members, .start = change_medium},
	{"dvd-eject", .members = place_members, .start = change_medium},
	{}};
