/*
 * dvd_commands.c - what a DVD-ROM drive understands (MMC-5, SPC-3)
 *
 * The medium is one track of 2048-byte sectors in one complete session. A tray that the guest
 * opens keeps its medium, out of reach, until the guest closes it or the host changes it.
 */
#include "unit_internal.h"

#include <string.h>

#define LEAD_OUT 0xaa

/* --- table of contents --- */

enum { TOC_TRACKS, TOC_SESSIONS };

/* An address as minutes, seconds, frames, or as a number of sectors. */
static void put_address(uint8_t *at, uint32_t lba, bool msf)
{
	uint32_t frames = lba + 150;

	if (!msf) {
		scsi_put_be32(at, lba);
		return;
	}
	at[0] = 0;
	at[1] = (uint8_t)MIN(frames / 75 / 60, 255u);
	at[2] = frames / 75 % 60;
	at[3] = frames % 75;
}

#define DATA_TRACK 0x14 /* ADR 1, control 4 */

static uint32_t put_track(uint8_t *at, uint8_t track, uint32_t lba, bool msf)
{
	memset(at, 0, 8);
	at[1] = DATA_TRACK;
	at[2] = track;
	put_address(at + 4, lba, msf);
	return 8;
}

static uint32_t last_lba(const struct scsi_command *command)
{
	return (uint32_t)MIN(command->medium->blocks - 1, UINT32_MAX - 1);
}

static void read_toc_tracks(struct scsi_command *command, bool msf)
{
	uint8_t data[20] = {0, 0, 1, 1}, first = command->cdb[6];
	uint32_t bytes = 4;

	if (first > 1 && first != LEAD_OUT) {
		scsi_fail(command, SCSI_SENSE_INVALID_FIELD_IN_CDB);
		return;
	}
	if (first <= 1)
		bytes += put_track(data + bytes, 1, 0, msf);
	bytes += put_track(data + bytes, LEAD_OUT, last_lba(command) + 1, msf);
	scsi_put_be16(data, (uint16_t)(bytes - 2));
	scsi_reply(command, data, bytes, scsi_get_be16(command->cdb + 7));
}

static void read_toc(struct scsi_command *command)
{
	bool msf = command->cdb[1] & 2;
	unsigned int format = command->cdb[2] & 0xf;
	uint8_t data[12] = {0, 10, 1, 1};

	if (!format) /* where ATAPI drives had it before MMC */
		format = command->cdb[9] >> 6;
	if (format == TOC_TRACKS) {
		read_toc_tracks(command, msf);
	} else if (format == TOC_SESSIONS) {
		put_track(data + 4, 1, 0, msf);
		scsi_reply(command, data, sizeof(data), scsi_get_be16(command->cdb + 7));
	} else {
		scsi_fail(command, SCSI_SENSE_INVALID_FIELD_IN_CDB);
	}
}

static void read_disc_information(struct scsi_command *command)
{
	/* Complete disc, complete session, one session, first and last track 1. */
	static const uint8_t data[34] = {0,    32,   0x0e, 1,	 1,    1,    1,	   0x20,
					 0,    0,    0,	   0,	 0,    0,    0,	   0,
					 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

	if (command->cdb[1] & 7)
		scsi_fail(command, SCSI_SENSE_INVALID_FIELD_IN_CDB);
	else
		scsi_reply(command, data, sizeof(data), scsi_get_be16(command->cdb + 7));
}

/* The address of a sector, the number of a track or a session: the only one there is, or nothing. */
static bool names_the_track(const struct scsi_command *command)
{
	uint32_t address = scsi_get_be32(command->cdb + 2);

	switch (command->cdb[1] & 3) {
	case 0: return address <= last_lba(command);
	case 1:
	case 2: return address == 1;
	default: return false;
	}
}

static void read_track_information(struct scsi_command *command)
{
	uint8_t data[36] = {0, 34, 1, 1, 0, 4 /* data */, 1 /* mode 1 */};

	if (!names_the_track(command)) {
		scsi_fail(command, SCSI_SENSE_INVALID_FIELD_IN_CDB);
		return;
	}
	scsi_put_be32(data + 24, last_lba(command) + 1);
	scsi_reply(command, data, sizeof(data), scsi_get_be16(command->cdb + 7));
}

/* --- GET CONFIGURATION --- */

#define PROFILE_DVD_ROM 0x0010

enum { ALL_FEATURES, CURRENT_FEATURES, ONE_FEATURE };

struct feature {
	uint16_t code;
	uint8_t version;
	bool persistent; /* current always; the others with a medium */
	uint8_t bytes;
	uint8_t data[8];
};

static const struct feature features[] = {
	/* Profiles: their "current" bits are put in. */
	{0x0000, 0, true, 8, {0, 0x10, 0, 0, 0, 0x08, 0, 0}},
	{0x0001, 1, true, 8, {0, 0, 0, 1}}, /* core; SCSI */
	{0x0002, 1, true, 4, {0}},	    /* morphing: events are polled */
	{0x0003, 0, true, 4, {0x29}},	    /* removable: tray, ejects, locks */
	/* Random access: 2048 bytes, 16 sectors at a time. */
	{0x0010, 0, false, 8, {0, 0, 8, 0, 0, 16, 0, 0}},
	{0x001e, 1, false, 4, {0}}, /* reads CDs */
	{0x001f, 0, false, 0, {0}}, /* reads DVDs */
	{0x0100, 0, true, 0, {0}},  /* power management */
	{0x0105, 0, true, 4, {0}},  /* timeout */
};

static uint32_t put_feature(uint8_t *at, const struct feature *feature, bool medium)
{
	bool current = feature->persistent || medium;

	scsi_put_be16(at, feature->code);
	at[2] = (uint8_t)(feature->version << 2 | (feature->persistent ? 2 : 0) | current);
	at[3] = feature->bytes;
	memcpy(at + 4, feature->data, feature->bytes);
	if (feature->code == 0)
		at[6] = medium;
	return 4 + feature->bytes;
}

static bool feature_wanted(const struct feature *feature, const uint8_t *cdb, bool medium)
{
	uint16_t start = scsi_get_be16(cdb + 2);

	switch (cdb[1] & 3) {
	case ALL_FEATURES: return feature->code >= start;
	case CURRENT_FEATURES: return feature->code >= start && (feature->persistent || medium);
	default: return feature->code == start;
	}
}

static void get_configuration(struct scsi_command *command)
{
	bool medium = command->medium;
	uint8_t data[8 + 12 * ARRAY_SIZE(features)] = {0};
	uint32_t bytes = 8;

	if ((command->cdb[1] & 3) == 3) {
		scsi_fail(command, SCSI_SENSE_INVALID_FIELD_IN_CDB);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(features); i++)
		if (feature_wanted(&features[i], command->cdb, medium))
			bytes += put_feature(data + bytes, &features[i], medium);
	scsi_put_be32(data, bytes - 4);
	scsi_put_be16(data + 6, medium ? PROFILE_DVD_ROM : 0);
	scsi_reply(command, data, bytes, scsi_get_be16(command->cdb + 7));
}

/* --- GET EVENT STATUS NOTIFICATION --- */

#define EVENT_CLASSES  0x7e /* supported; those without news say so */
#define CLASS_POWER    2
#define CLASS_MEDIA    4
#define NO_EVENT_CLASS 0x80

enum { MEDIA_NO_CHANGE, MEDIA_EJECT_REQUEST, MEDIA_NEW, MEDIA_REMOVAL };

/* A swap is told as a removal, then, at the next poll, as a new medium. */
static void put_media_event(struct scsi_unit *unit, uint8_t *at)
{
	at[1] = (uint8_t)(unit->tray_open | (scsi_reachable_medium(unit) ? 2 : 0));
	if (unit->removal_event) {
		unit->removal_event = false;
		at[0] = MEDIA_REMOVAL;
		if (unit->new_medium_event)
			at[1] = 0;
	} else if (unit->new_medium_event) {
		unit->new_medium_event = false;
		at[0] = MEDIA_NEW;
	}
}

/* The class to answer about: media if there is news, else the lowest that is asked for. */
static unsigned int choose_class(const struct scsi_unit *unit, uint8_t asked)
{
	if ((asked & BIT(CLASS_MEDIA)) && (unit->removal_event || unit->new_medium_event))
		return CLASS_MEDIA;
	return (unsigned int)__builtin_ctz(asked);
}

static void get_event_status(struct scsi_command *command)
{
	uint32_t allocation = scsi_get_be16(command->cdb + 7);
	uint8_t asked = command->cdb[4] & EVENT_CLASSES;
	uint8_t data[8] = {0, 2, NO_EVENT_CLASS, EVENT_CLASSES};
	uint32_t bytes = 4;

	if (!(command->cdb[1] & 1)) { /* asynchronous: not here */
		scsi_fail(command, SCSI_SENSE_INVALID_FIELD_IN_CDB);
		return;
	}
	if (asked) {
		data[1] = 6;
		data[2] = (uint8_t)choose_class(command->unit, asked);
		if (data[2] == CLASS_POWER)
			data[5] = 1; /* active */
		/* Who asks for the header only has not been told. */
		if (data[2] == CLASS_MEDIA && allocation >= sizeof(data))
			put_media_event(command->unit, data + 4);
		bytes = 8;
	}
	scsi_reply(command, data, bytes, allocation);
}

/* --- the rest --- */

#define START	   0x01
#define LOAD_EJECT 0x02

static void eject(struct scsi_command *command)
{
	struct scsi_unit *unit = command->unit;

	if (unit->prevent || unit->persistent_prevent) {
		scsi_fail(command, unit->medium ? SCSI_SENSE_REMOVAL_PREVENTED
						: SCSI_SENSE_NOT_READY_REMOVAL_PREVENTED);
		return;
	}
	if (scsi_reachable_medium(unit)) {
		unit->removal_event = true;
		unit->new_medium_event = false;
		unit->attention = SCSI_SENSE_NONE;
	}
	unit->tray_open = true;
	scsi_good(command);
}

static void load(struct scsi_command *command)
{
	struct scsi_unit *unit = command->unit;

	if (unit->tray_open && unit->medium) {
		unit->new_medium_event = true;
		unit->attention = SCSI_SENSE_MEDIUM_MAY_HAVE_CHANGED;
	}
	unit->tray_open = false;
	scsi_good(command);
}

static void start_stop(struct scsi_command *command)
{
	uint8_t what = command->cdb[4];

	if (what >> 4 || !(what & LOAD_EJECT)) /* power conditions, spinning up and down */
		scsi_good(command);
	else if (what & START)
		load(command);
	else
		eject(command);
}

static void prevent_allow(struct scsi_command *command)
{
	bool prevent = command->cdb[4] & 1;

	if (command->cdb[4] & 2)
		command->unit->persistent_prevent = prevent;
	else
		command->unit->prevent = prevent;
	scsi_good(command);
}

/* READ CD: user data of mode 1 sectors, which READ gives too. */
static void read_cd(struct scsi_command *command)
{
	struct scsi_range range = {scsi_get_be32(command->cdb + 2),
				   scsi_get_be24(command->cdb + 6)};
	unsigned int type = command->cdb[1] >> 2 & 7;
	uint8_t parts = command->cdb[9];

	if ((type != 0 && type != 2) || (parts && parts != 0x10) || (command->cdb[10] & 7)) {
		scsi_fail(command, SCSI_SENSE_INVALID_FIELD_IN_CDB);
		return;
	}
	if (!parts)
		range.blocks = 0;
	scsi_read_range(command, &range);
}

/* Physical format information of a single-layer DVD-ROM. */
static void read_dvd_structure(struct scsi_command *command)
{
	uint8_t data[4 + 2048] = {8, 2};

	if ((command->cdb[1] & 0xf) || command->cdb[6] || command->cdb[7]) {
		scsi_fail(command, SCSI_SENSE_INVALID_FIELD_IN_CDB);
		return;
	}
	data[4] = 0x01; /* DVD-ROM, part version 1 */
	data[5] = 0x0f; /* 120 mm, no maximum rate */
	data[6] = 0x01; /* one layer, read-only */
	scsi_put_be24(data + 9, 0x030000);
	scsi_put_be24(data + 13, MIN(0x030000 + last_lba(command), 0xffffffu));
	scsi_reply(command, data, sizeof(data), scsi_get_be16(command->cdb + 8));
}

#define KILOBYTES_PER_SECOND 11080 /* 8-fold */

/* Nominal performance: one descriptor, the same speed everywhere. */
static void get_performance(struct scsi_command *command)
{
	uint8_t data[8 + 16] = {0};

	if (command->cdb[10] || (command->cdb[1] & 0x04)) {
		scsi_fail(command, SCSI_SENSE_INVALID_FIELD_IN_CDB);
		return;
	}
	scsi_put_be32(data, sizeof(data) - 4);
	scsi_put_be32(data + 12, KILOBYTES_PER_SECOND);
	scsi_put_be32(data + 16, last_lba(command));
	scsi_put_be32(data + 20, KILOBYTES_PER_SECOND);
	scsi_reply(command, data, sizeof(data), scsi_get_be16(command->cdb + 8) ? sizeof(data) : 8);
}

static void mechanism_status(struct scsi_command *command)
{
	uint8_t data[8] = {0};

	data[1] = command->unit->tray_open ? 0x10 : 0;
	scsi_reply(command, data, sizeof(data), scsi_get_be16(command->cdb + 8));
}

/* A drive that writes nothing has no room for it. */
static void read_buffer_capacity(struct scsi_command *command)
{
	static const uint8_t data[12] = {0, 10};

	scsi_reply(command, data, sizeof(data), scsi_get_be16(command->cdb + 7));
}

#define ANY	  SCSI_NO_ACTION
#define IN	  STORVSC_DATA_IN
#define OUT	  STORVSC_DATA_OUT
#define NONE	  STORVSC_DATA_NONE
#define ATTENTION SCSI_ROW_ATTENTION
#define MEDIUM	  SCSI_ROW_MEDIUM

const struct scsi_row scsi_dvd_rows[] = {
	{SCSI_READ_10, ANY, 10, IN, MEDIUM, scsi_read},
	{SCSI_GET_EVENT_STATUS, ANY, 10, IN, ATTENTION, get_event_status},
	{SCSI_TEST_UNIT_READY, ANY, 6, NONE, MEDIUM, scsi_test_unit_ready},
	{SCSI_REQUEST_SENSE, ANY, 6, IN, ATTENTION, scsi_request_sense},
	{SCSI_INQUIRY, ANY, 6, IN, ATTENTION, scsi_inquiry},
	{SCSI_MODE_SELECT_6, ANY, 6, OUT, 0, scsi_mode_select},
	{SCSI_MODE_SENSE_6, ANY, 6, IN, 0, scsi_mode_sense},
	{SCSI_START_STOP_UNIT, ANY, 6, NONE, 0, start_stop},
	{SCSI_SEND_DIAGNOSTIC, ANY, 6, NONE, 0, scsi_send_diagnostic},
	{SCSI_PREVENT_ALLOW_REMOVAL, ANY, 6, NONE, 0, prevent_allow},
	{SCSI_READ_CAPACITY_10, ANY, 10, IN, MEDIUM, scsi_read_capacity_10},
	{SCSI_SEEK_10, ANY, 10, NONE, MEDIUM, scsi_nothing},
	{SCSI_VERIFY_10, ANY, 10, NONE, MEDIUM, scsi_verify},
	{SCSI_SYNCHRONIZE_CACHE_10, ANY, 10, NONE, 0, scsi_nothing},
	{SCSI_READ_TOC, ANY, 10, IN, MEDIUM, read_toc},
	{SCSI_GET_CONFIGURATION, ANY, 10, IN, ATTENTION, get_configuration},
	{SCSI_READ_DISC_INFORMATION, ANY, 10, IN, MEDIUM, read_disc_information},
	{SCSI_READ_TRACK_INFORMATION, ANY, 10, IN, MEDIUM, read_track_information},
	{SCSI_MODE_SELECT_10, ANY, 10, OUT, 0, scsi_mode_select},
	{SCSI_MODE_SENSE_10, ANY, 10, IN, 0, scsi_mode_sense},
	{SCSI_READ_BUFFER_CAPACITY, ANY, 10, IN, MEDIUM, read_buffer_capacity},
	{SCSI_READ_16, ANY, 16, IN, MEDIUM, scsi_read},
	{SCSI_READ_12, ANY, 12, IN, MEDIUM, scsi_read},
	{SCSI_GET_PERFORMANCE, ANY, 12, IN, MEDIUM, get_performance},
	{SCSI_READ_DVD_STRUCTURE, ANY, 12, IN, MEDIUM, read_dvd_structure},
	{SCSI_SET_STREAMING, ANY, 12, OUT, 0, scsi_nothing},
	{SCSI_SET_CD_SPEED, ANY, 12, NONE, 0, scsi_nothing},
	{SCSI_MECHANISM_STATUS, ANY, 12, IN, 0, mechanism_status},
	{SCSI_READ_CD, ANY, 12, IN, MEDIUM, read_cd},
	{0},
};
