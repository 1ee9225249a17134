/*
 * reservation_test.c - persistent reservations as a sequence of commands
 */
#include <string.h>

#include "scsi_fixture.h"

enum { REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_ABORT, REGISTER_IGNORE, MOVE };

#define CONFLICT 1
#define BAD_LIST SCSI_SENSE_INVALID_FIELD_IN_PARAMETERS

struct step {
	const char *name;
	uint8_t action, type;
	uint64_t key, new_key;
	uint8_t flags;
	uint32_t result; /* 0, a sense, or CONFLICT */
	/* What is there then. */
	uint32_t generation;
	uint64_t registered; /* 0: none */
	uint8_t held;	     /* type; 0: none */
};

static uint32_t reserve_out(struct scsi_fixture *fixture, const struct step *step)
{
	uint8_t cdb[16] = {0x5f, step->action, step->type, 0, 0, 0, 0, 0, 24, 0};

	memset(fixture->data, 0, 24);
	scsi_put_be64(fixture->data, step->key);
	scsi_put_be64(fixture->data + 8, step->new_key);
	fixture->data[20] = step->flags;
	scsi_run(fixture, cdb, 10, OUT, 24);
	if (fixture->command->status == SCSI_STATUS_RESERVATION_CONFLICT) {
		assert_int_equal(fixture->command->srb_status, STORVSC_SRB_ERROR);
		return CONFLICT;
	}
	return scsi_sense_of(fixture);
}

static void reserve_in(struct scsi_fixture *fixture, uint8_t action)
{
	uint8_t cdb[16] = {0x5e, action, 0, 0, 0, 0, 0, 1, 0, 0};

	memset(fixture->data, 0xcc, 256);
	scsi_run(fixture, cdb, 10, IN, 256);
	assert_int_equal(scsi_sense_of(fixture), 0);
}

static void check_keys(struct scsi_fixture *fixture, const struct step *step)
{
	reserve_in(fixture, 0);
	assert_int_equal(scsi_get_be32(fixture->data), step->generation);
	assert_int_equal(scsi_get_be32(fixture->data + 4), step->registered ? 8 : 0);
	assert_int_equal(fixture->command->transferred, step->registered ? 16 : 8);
	if (step->registered)
		assert_true(scsi_get_be64(fixture->data + 8) == step->registered);
}

static void check_reservation(struct scsi_fixture *fixture, const struct step *step)
{
	bool everybody = step->held == 7 || step->held == 8;

	reserve_in(fixture, 1);
	assert_int_equal(scsi_get_be32(fixture->data), step->generation);
	assert_int_equal(scsi_get_be32(fixture->data + 4), step->held ? 16 : 0);
	assert_int_equal(fixture->command->transferred, step->held ? 24 : 8);
	if (!step->held)
		return;
	assert_true(scsi_get_be64(fixture->data + 8) == (everybody ? 0 : step->registered));
	assert_int_equal(fixture->data[21], step->held);
}

static void run_steps(struct scsi_fixture *fixture, const struct step *steps, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint32_t result = reserve_out(fixture, &steps[i]);

		if (result != steps[i].result)
			fail_msg("%s: %06x, not %06x", steps[i].name, result, steps[i].result);
		check_keys(fixture, &steps[i]);
		check_reservation(fixture, &steps[i]);
	}
}

static void keys_are_registered_changed_and_removed(void **state)
{
	static const struct step steps[] = {
		{"with a key, not registered", REGISTER, 0, 1, 2, 0, CONFLICT, 0, 0, 0},
		{"nothing for nothing", REGISTER, 0, 0, 0, 0, 0, 1, 0, 0},
		{"register", REGISTER, 0, 0, 0xa0b0c0d0e0f01122, 0, 0, 2, 0xa0b0c0d0e0f01122, 0},
		{"register again without the key", REGISTER, 0, 0, 5, 0, CONFLICT, 2,
		 0xa0b0c0d0e0f01122, 0},
		{"change", REGISTER, 0, 0xa0b0c0d0e0f01122, 5, 0, 0, 3, 5, 0},
		{"ignoring the key", REGISTER_IGNORE, 0, 77, 6, 0, 0, 4, 6, 0},
		{"kept over power", REGISTER, 0, 6, 7, 1, BAD_LIST, 4, 6, 0},
		{"for ports", REGISTER, 0, 6, 7, 8, BAD_LIST, 4, 6, 0},
		{"for all ports", REGISTER_IGNORE, 0, 6, 7, 4, BAD_LIST, 4, 6, 0},
		{"remove", REGISTER, 0, 6, 0, 0, 0, 5, 0, 0},
		{"move", MOVE, 0, 0, 0, 0, SCSI_SENSE_INVALID_FIELD_IN_CDB, 5, 0, 0},
	};

	run_steps(*state, steps, ARRAY_SIZE(steps));
}

static void the_disk_is_reserved_and_released(void **state)
{
	static const struct step steps[] = {
		{"not registered", RESERVE, 1, 0, 0, 0, CONFLICT, 0, 0, 0},
		{"register", REGISTER, 0, 0, 5, 0, 0, 1, 5, 0},
		{"wrong key", RESERVE, 1, 6, 0, 0, CONFLICT, 1, 5, 0},
		{"no such type", RESERVE, 2, 5, 0, 0, SCSI_SENSE_INVALID_FIELD_IN_CDB, 1, 5, 0},
		{"scope", RESERVE, 0x21, 5, 0, 0, SCSI_SENSE_INVALID_FIELD_IN_CDB, 1, 5, 0},
		{"release of none", RELEASE, 1, 5, 0, 0, 0, 1, 5, 0},
		{"reserve", RESERVE, 3, 5, 0, 0, 0, 1, 5, 3},
		{"the same again", RESERVE, 3, 5, 0, 0, 0, 1, 5, 3},
		{"other type", RESERVE, 5, 5, 0, 0, CONFLICT, 1, 5, 3},
		{"release, other type", RELEASE, 5, 5, 0, 0, SCSI_SENSE_INVALID_RELEASE, 1, 5, 3},
		{"release, wrong key", RELEASE, 3, 6, 0, 0, CONFLICT, 1, 5, 3},
		{"release", RELEASE, 3, 5, 0, 0, 0, 1, 5, 0},
		{"reserve for all", RESERVE, 8, 5, 0, 0, 0, 1, 5, 8},
		{"unregister releases", REGISTER, 0, 5, 0, 0, 0, 2, 0, 0},
	};

	run_steps(*state, steps, ARRAY_SIZE(steps));
}

static void clearing_and_preempting(void **state)
{
	static const struct step steps[] = {
		{"clear, not registered", CLEAR, 0, 0, 0, 0, CONFLICT, 0, 0, 0},
		{"register", REGISTER, 0, 0, 5, 0, 0, 1, 5, 0},
		{"reserve", RESERVE, 3, 5, 0, 0, 0, 1, 5, 3},
		{"preempt nobody's key", PREEMPT, 3, 5, 9, 0, CONFLICT, 1, 5, 3},
		{"preempt key 0", PREEMPT, 3, 5, 0, 0, BAD_LIST, 1, 5, 3},
		{"preempt oneself: another type", PREEMPT, 1, 5, 5, 0, 0, 2, 5, 1},
		{"and abort", PREEMPT_ABORT, 7, 5, 5, 0, 0, 3, 5, 7},
		{"all registrants", PREEMPT, 6, 5, 0, 0, 0, 4, 5, 6},
		{"clear", CLEAR, 0, 5, 0, 0, 0, 5, 0, 0},
		{"register", REGISTER, 0, 0, 5, 0, 0, 6, 5, 0},
		{"preempt without a reservation", PREEMPT, 1, 5, 5, 0, 0, 7, 0, 0},
	};

	run_steps(*state, steps, ARRAY_SIZE(steps));
}

static void capabilities_and_lists(void **state)
{
	static const struct scsi_case cases[] = {
		{"REPORT CAPABILITIES", CDB(0x5e, 2, 0, 0, 0, 0, 0, 0, 255, 0), IN, 255,
		 .transferred = 8, EXPECT(0, 8, 0, 0x80, 0xea, 0x01, 0, 0)},
		{"in part", CDB(0x5e, 2, 0, 0, 0, 0, 0, 0, 3, 0), IN, 255, .transferred = 3,
		 EXPECT(0, 8, 0)},
		{"READ FULL STATUS", CDB(0x5e, 3, 0, 0, 0, 0, 0, 0, 255, 0), IN, 255,
		 .sense = SCSI_SENSE_INVALID_FIELD_IN_CDB},
		{"short list", CDB(0x5f, 0, 0, 0, 0, 0, 0, 0, 23, 0), OUT, 24,
		 .sense = SCSI_SENSE_PARAMETER_LIST_LENGTH},
		{"long list", CDB(0x5f, 0, 0, 0, 0, 0, 0, 1, 24, 0), OUT, 512,
		 .sense = SCSI_SENSE_PARAMETER_LIST_LENGTH},
		{"no data", CDB(0x5f, 0, 0, 0, 0, 0, 0, 0, 24, 0), OUT, 0,
		 .sense = SCSI_SENSE_INVALID_FIELD_IN_CDB},
		{"action 31", CDB(0x5f, 31, 0, 0, 0, 0, 0, 0, 24, 0), OUT, 24,
		 .sense = SCSI_SENSE_INVALID_FIELD_IN_CDB},
	};
	struct scsi_fixture *fixture = *state;

	fixture->unit.reservation.generation = 0x12345678;
	scsi_run_cases(fixture, cases, ARRAY_SIZE(cases));
}

static void older_reservations_conflict_with_registrations(void **state)
{
	static const uint8_t opcodes[] = {0x16, 0x17, 0x56, 0x57};
	static const struct step step = {"register", REGISTER, 0, 0, 5, 0, 0, 1, 5, 0};
	struct scsi_fixture *fixture = *state;

	run_steps(fixture, &step, 1);
	for (size_t i = 0; i < ARRAY_SIZE(opcodes); i++) {
		scsi_run(fixture, (const uint8_t[16]){opcodes[i]}, 10, NONE, 0);
		assert_int_equal(fixture->command->status, SCSI_STATUS_RESERVATION_CONFLICT);
	}
	scsi_power_on(&fixture->unit);
	scsi_run(fixture, (const uint8_t[16]){opcodes[0]}, 6, NONE, 0);
	assert_int_equal(fixture->command->status, SCSI_STATUS_GOOD);
}

#define DISK_TEST(name) cmocka_unit_test_setup_teardown(name, scsi_fixture_disk, scsi_fixture_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DISK_TEST(keys_are_registered_changed_and_removed),
		DISK_TEST(the_disk_is_reserved_and_released),
		DISK_TEST(clearing_and_preempting),
		DISK_TEST(capabilities_and_lists),
		DISK_TEST(older_reservations_conflict_with_registrations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
