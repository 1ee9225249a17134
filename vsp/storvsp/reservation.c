/*
 * reservation.c - persistent reservations with one initiator, the guest
 *
 * There is one I_T nexus, so at most one registration, and a reservation's holder is that nexus:
 * reservations never keep the guest from its disk. What remains is the state as SPC-3 (5.6) moves
 * it, with the conflicts that wrong keys make. It is in memory only and lost with the power
 * (no APTPL).
 *
 * States: not registered -> registered -> holding. REGISTER with key 0, CLEAR and a PREEMPT of the
 * own key lead back.
 */
#include "unit_internal.h"

#include <string.h>

enum { READ_KEYS, READ_RESERVATION, REPORT_CAPABILITIES };

enum {
	REGISTER,
	RESERVE,
	RELEASE,
	CLEAR,
	PREEMPT,
	PREEMPT_AND_ABORT,
	REGISTER_AND_IGNORE_KEY,
};

enum {
	WRITE_EXCLUSIVE = 1,
	EXCLUSIVE_ACCESS = 3,
	WRITE_EXCLUSIVE_REGISTRANTS = 5,
	EXCLUSIVE_ACCESS_REGISTRANTS = 6,
	WRITE_EXCLUSIVE_ALL = 7,
	EXCLUSIVE_ACCESS_ALL = 8,
};
#define TYPES                                                                                      \
	(BIT(WRITE_EXCLUSIVE) | BIT(EXCLUSIVE_ACCESS) | BIT(WRITE_EXCLUSIVE_REGISTRANTS) |         \
	 BIT(EXCLUSIVE_ACCESS_REGISTRANTS) | BIT(WRITE_EXCLUSIVE_ALL) | BIT(EXCLUSIVE_ACCESS_ALL))

static bool all_registrants(uint8_t type)
{
	return type == WRITE_EXCLUSIVE_ALL || type == EXCLUSIVE_ACCESS_ALL;
}

/* --- PERSISTENT RESERVE IN --- */

static uint32_t put_keys(const struct scsi_reservation *reservation, uint8_t *data)
{
	scsi_put_be32(data, reservation->generation);
	if (!reservation->registered)
		return 8;
	scsi_put_be32(data + 4, 8);
	scsi_put_be64(data + 8, reservation->key);
	return 16;
}

static uint32_t put_reservation(const struct scsi_reservation *reservation, uint8_t *data)
{
	scsi_put_be32(data, reservation->generation);
	if (!reservation->held)
		return 8;
	scsi_put_be32(data + 4, 16);
	if (!all_registrants(reservation->type))
		scsi_put_be64(data + 8, reservation->key);
	data[21] = reservation->type;
	return 24;
}

static uint32_t put_capabilities(uint8_t *data)
{
	scsi_put_be16(data, 8);
	data[3] = 0x80; /* the type mask is valid */
	data[4] = (uint8_t)(TYPES & 0xff);
	data[5] = (uint8_t)(TYPES >> 8);
	return 8;
}

void scsi_persistent_reserve_in(struct scsi_command *command)
{
	const struct scsi_reservation *reservation = &command->unit->reservation;
	uint8_t data[24] = {0};
	uint32_t bytes;

	switch (command->cdb[1] & 0x1f) {
	case READ_KEYS: bytes = put_keys(reservation, data); break;
	case READ_RESERVATION: bytes = put_reservation(reservation, data); break;
	default: bytes = put_capabilities(data); break;
	}
	scsi_reply(command, data, bytes, scsi_get_be16(command->cdb + 7));
}

/* --- PERSISTENT RESERVE OUT --- */

#define LIST_BYTES 24
#define CONFLICT   1 /* beside senses, of which none is 1 */

struct reserve_out {
	uint8_t type;
	uint64_t key, new_key; /* RESERVATION KEY, SERVICE ACTION RESERVATION KEY */
	uint8_t flags;
};
#define FLAG_SPECIFY_PORTS 0x08
#define FLAG_ALL_PORTS	   0x04
#define FLAG_KEEP	   0x01 /* APTPL */

static void unregister(struct scsi_reservation *reservation)
{
	reservation->registered = false;
	reservation->held = false;
	reservation->key = 0;
}

static uint32_t do_register(struct scsi_reservation *reservation, const struct reserve_out *out)
{
	if (out->flags & (FLAG_SPECIFY_PORTS | FLAG_ALL_PORTS | FLAG_KEEP))
		return SCSI_SENSE_INVALID_FIELD_IN_PARAMETERS;
	reservation->generation++;
	if (!out->new_key) {
		unregister(reservation);
		return SCSI_SENSE_NONE;
	}
	reservation->registered = true;
	reservation->key = out->new_key;
	return SCSI_SENSE_NONE;
}

static uint32_t do_register_with_key(struct scsi_reservation *reservation,
				     const struct reserve_out *out)
{
	if (out->key != reservation->key) /* 0 while not registered */
		return CONFLICT;
	return do_register(reservation, out);
}

static uint32_t do_reserve(struct scsi_reservation *reservation, const struct reserve_out *out)
{
	if (reservation->held && reservation->type != out->type)
		return CONFLICT;
	reservation->held = true;
	reservation->type = out->type;
	return SCSI_SENSE_NONE;
}

static uint32_t do_release(struct scsi_reservation *reservation, const struct reserve_out *out)
{
	if (reservation->held && reservation->type != out->type)
		return SCSI_SENSE_INVALID_RELEASE;
	reservation->held = false;
	return SCSI_SENSE_NONE;
}

static uint32_t do_clear(struct scsi_reservation *reservation, const struct reserve_out *out)
{
	unregister(reservation);
	reservation->generation++;
	return SCSI_SENSE_NONE;
}

/*
 * Whom new_key names is preempted; it can only be ourselves. With a reservation that is the
 * holder, who keeps the registration and holds with the new type; without one our registration
 * goes.
 */
static uint32_t do_preempt(struct scsi_reservation *reservation, const struct reserve_out *out)
{
	bool everybody = reservation->held && all_registrants(reservation->type);

	if (!out->new_key && !everybody)
		return SCSI_SENSE_INVALID_FIELD_IN_PARAMETERS;
	if (out->new_key && out->new_key != reservation->key)
		return CONFLICT;
	reservation->generation++;
	if (!reservation->held || (everybody && out->new_key))
		unregister(reservation);
	else
		reservation->type = out->type;
	return SCSI_SENSE_NONE;
}

static const struct {
	bool unregistered_may;
	bool has_type;
	uint32_t (*act)(struct scsi_reservation *reservation, const struct reserve_out *out);
} actions[] = {
	[REGISTER] = {true, false, do_register_with_key},
	[RESERVE] = {false, true, do_reserve},
	[RELEASE] = {false, true, do_release},
	[CLEAR] = {false, false, do_clear},
	[PREEMPT] = {false, true, do_preempt},
	[PREEMPT_AND_ABORT] = {false, true, do_preempt},
	[REGISTER_AND_IGNORE_KEY] = {true, false, do_register},
};

static uint32_t act(struct scsi_command *command, unsigned int action)
{
	struct scsi_reservation *reservation = &command->unit->reservation;
	const uint8_t *list = command->buffer;
	struct reserve_out out = {
		.type = command->cdb[2] & 0xf,
		.key = scsi_get_be64(list),
		.new_key = scsi_get_be64(list + 8),
		.flags = list[20],
	};

	if (!actions[action].unregistered_may &&
	    (!reservation->registered || reservation->key != out.key))
		return CONFLICT;
	return actions[action].act(reservation, &out);
}

void scsi_persistent_reserve_out(struct scsi_command *command)
{
	unsigned int action = command->cdb[1] & 0x1f;
	uint8_t scope_and_type = command->cdb[2];
	uint32_t result;

	if (action >= ARRAY_SIZE(actions) ||
	    (actions[action].has_type && (scope_and_type >> 4 || !(TYPES & BIT(scope_and_type))))) {
		scsi_fail(command, SCSI_SENSE_INVALID_FIELD_IN_CDB);
		return;
	}
	if (scsi_get_be32(command->cdb + 5) != LIST_BYTES) {
		scsi_fail(command, SCSI_SENSE_PARAMETER_LIST_LENGTH);
		return;
	}
	if (!scsi_parameters(command, LIST_BYTES))
		return;
	result = act(command, action);
	if (result == CONFLICT)
		scsi_conflict(command);
	else if (result)
		scsi_fail(command, result);
	else
		scsi_good(command);
}

/* RESERVE and RELEASE of SCSI-2: not beside persistent reservations; else nobody is kept out. */
void scsi_reserve(struct scsi_command *command)
{
	if (command->unit->reservation.registered)
		scsi_conflict(command);
	else
		scsi_good(command);
}
