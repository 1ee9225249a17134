/*
 * fcopy_test.c - files that arrive, and files that do not
 */
#include <sys/mman.h>
#include <unistd.h>

#include "ic_test.h"

#define SERVICE IC_FCOPY

enum { START, WRITE, COMPLETE, CANCEL };

static struct ic *connected(void)
{
	struct ic *ic = fixture_new();

	fixture_connect(SERVICE, 3, 1, 1);
	return ic;
}

/* A file of @bytes, each byte different from its neighbours. */
static int file_of(size_t bytes)
{
	int fd = memfd_create("fcopy_test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	for (size_t i = 0; i < bytes; i++) {
		uint8_t byte = (uint8_t)(i * 7 + i / 251);

		assert_int_equal(write(fd, &byte, 1), 1);
	}
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static uint8_t byte_at(size_t i)
{
	return (uint8_t)(i * 7 + i / 251);
}

static struct fixture_packet take_operation(uint32_t operation)
{
	static const size_t bytes[] = {1088, 6196, 36, 36};
	struct fixture_packet packet = take_only(SERVICE);
	uint32_t asked;

	assert_int_equal(packet.message.header.type, IC_MESSAGE_FCOPY);
	memcpy(&asked, packet.message.body, 4);
	assert_int_equal(asked, operation);
	assert_int_equal(packet.bytes, 28 + bytes[operation]);
	return packet;
}

static void answer(uint32_t operation, uint32_t status)
{
	struct fixture_packet packet = take_operation(operation);

	fixture_answer(SERVICE, &packet, status);
}

/* Starts a copy of a file of @bytes to /a/b. */
static int start(struct ic *ic, size_t bytes, struct outcome *outcome)
{
	struct ic_copy copy = {.fd = file_of(bytes), .guest_path = "/a/b"};

	assert_int_equal(ic_copy_file(ic, &copy, note_done, outcome), 0);
	return copy.fd;
}

static uint64_t progressed;

static void note_progress(void *ctx, uint64_t bytes)
{
	assert_true(bytes > progressed);
	progressed = bytes;
}

static void a_file_arrives_piece_by_piece(void **state)
{
	static const size_t sizes[] = {0, 1, 6143, 6144, 6145, 20000};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct outcome outcome = {};
		struct ic *ic = connected();
		struct ic_copy copy = {
			.fd = file_of(sizes[i]), .guest_path = "/a/b", .progress = note_progress};
		size_t at = 0;

		progressed = 0;
		assert_int_equal(ic_copy_file(ic, &copy, note_done, &outcome), 0);
		answer(START, 0);
		while (at < sizes[i]) {
			struct fixture_packet packet = take_operation(WRITE);
			struct ic_fcopy_write_body body;

			memcpy(&body, packet.message.body, sizeof(body));
			assert_int_equal(body.offset, at);
			assert_int_equal(body.bytes, MIN(sizes[i] - at, 6144));
			for (size_t k = 0; k < 6144; k++)
				assert_int_equal(body.data[k],
						 k < body.bytes ? byte_at(at + k) : 0);
			at += body.bytes;
			fixture_answer(SERVICE, &packet, 0);
			assert_int_equal(progressed, at);
		}
		assert_int_equal(outcome.count, 0);
		answer(COMPLETE, 0);
		assert_ended(&outcome, 0);
		assert_int_equal(stepped_timers_armed(), 0);
		assert_int_equal(ic_cancel_copy(ic), -ENOENT);
		close(copy.fd);
		fixture_free(ic);
	}
}

static void the_start_says_where_to_and_how(void **state)
{
	static const struct {
		const char *path, *folder, *name;
		bool overwrite, create;
		uint32_t flags;
	} cases[] = {
		{"/x", "/", "x", false, false, 0},
		{"/a/b/c.txt", "/a/b/", "c.txt", true, false, 1},
		{"/\xc3\xa9/\xf0\x9f\x98\x80", "/\xc3\xa9/", "\xf0\x9f\x98\x80", false, true, 2},
		{"//a//b", "//a//", "b", true, true, 3},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct ic *ic = connected();
		struct ic_copy copy = {.fd = file_of(10),
				       .guest_path = cases[i].path,
				       .overwrite = cases[i].overwrite,
				       .create_directories = cases[i].create};
		struct fixture_packet packet;
		struct ic_fcopy_start_body body;
		char text[800];

		assert_int_equal(lseek(copy.fd, 3, SEEK_SET), 3);
		assert_int_equal(ic_copy_file(ic, &copy, NULL, NULL), 0);
		packet = take_operation(START);
		memcpy(&body, packet.message.body, sizeof(body));
		utf16_to_utf8(body.path_name, 260, text, sizeof(text));
		assert_string_equal(text, cases[i].folder);
		utf16_to_utf8(body.file_name, 260, text, sizeof(text));
		assert_string_equal(text, cases[i].name);
		assert_int_equal(body.flags, cases[i].flags);
		assert_int_equal(body.size, 7);
		fixture_answer(SERVICE, &packet, 0);
		packet = take_operation(WRITE);
		assert_int_equal(packet.message.body[52], byte_at(3));
		close(copy.fd);
		fixture_free(ic);
	}
}

static void paths_are_checked(void **state)
{
	char name259[1 + 259 + 1], name260[1 + 260 + 1], folder259[259 + 2], folder260[260 + 2];
	const struct {
		const char *path;
		int result;
	} cases[] = {
		{"", -EINVAL},	      {"x", -EINVAL},		{"a/b", -EINVAL},
		{"/", -EINVAL},	      {"/a/", -EINVAL},		{"/\xff", -EILSEQ},
		{"/\xff/x", -EILSEQ}, {name260, -ENAMETOOLONG}, {folder260, -ENAMETOOLONG},
		{name259, 0},	      {folder259, 0},
	};

	snprintf(name259, sizeof(name259), "/%0259d", 0);
	snprintf(name260, sizeof(name260), "/%0260d", 0);
	snprintf(folder259, sizeof(folder259), "/%0257d/x", 0);
	snprintf(folder260, sizeof(folder260), "/%0258d/x", 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct ic *ic = connected();
		struct ic_copy copy = {.fd = file_of(1), .guest_path = cases[i].path};

		assert_int_equal(ic_copy_file(ic, &copy, NULL, NULL), cases[i].result);
		if (cases[i].result)
			assert_silent(SERVICE);
		else
			take_operation(START);
		close(copy.fd);
		fixture_free(ic);
	}
}

static void only_regular_files_are_copied(void **state)
{
	struct ic *ic = connected();
	struct ic_copy copy = {.guest_path = "/x"};
	int pipes[2];

	assert_int_equal(pipe(pipes), 0);
	copy.fd = pipes[0];
	assert_int_equal(ic_copy_file(ic, &copy, NULL, NULL), -EINVAL);
	close(pipes[0]);
	close(pipes[1]);
	assert_int_equal(ic_copy_file(ic, &copy, NULL, NULL), -EBADF);
	assert_silent(SERVICE);
	fixture_free(ic);
}

static void a_start_that_is_refused_ends_the_copy(void **state)
{
	static const struct {
		uint32_t status;
		int result;
		const char *part;
	} cases[] = {
		{0x80070050, -EREMOTEIO, "exists already"},
		{0x80004005, -EREMOTEIO, "0x80004005"},
		{0x8007048f, -ENOTCONN, "daemon"},
	};
	struct ic *ic = connected();

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct outcome outcome = {};
		int fd = start(ic, 10, &outcome);

		answer(START, cases[i].status);
		assert_silent(SERVICE);
		assert_ended(&outcome, cases[i].result);
		assert_non_null(strstr(outcome.text, cases[i].part));
		close(fd);
	}
	fixture_free(ic);
}

static void a_piece_that_is_refused_cancels_the_copy(void **state)
{
	struct outcome outcome = {};
	struct ic *ic = connected();
	int fd = start(ic, 20000, &outcome);

	answer(START, 0);
	answer(WRITE, 0);
	answer(WRITE, 0x80070070);
	assert_int_equal(outcome.count, 0);
	answer(CANCEL, 0x80004005); /* no matter */
	assert_ended(&outcome, -EREMOTEIO);
	assert_non_null(strstr(outcome.text, "disk is full"));
	close(fd);
	close(start(ic, 1, &outcome));
	fixture_free(ic);
}

static void an_end_that_is_refused_cancels_the_copy(void **state)
{
	struct outcome outcome = {};
	struct ic *ic = connected();
	int fd = start(ic, 0, &outcome);

	answer(START, 0);
	answer(COMPLETE, 0x80004005);
	answer(CANCEL, 0);
	assert_ended(&outcome, -EREMOTEIO);
	close(fd);
	fixture_free(ic);
}

/* In each phase. */
static void a_guest_that_is_silent_gets_a_cancel_and_the_copy_times_out(void **state)
{
	static const uint32_t operations[] = {START, WRITE, COMPLETE};

	for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
		struct outcome outcome = {};
		struct ic *ic = connected();
		int fd = start(ic, 100, &outcome);
		struct fixture_packet late;

		for (size_t k = 0; k < i; k++)
			answer(operations[k], 0);
		late = take_operation(operations[i]);
		stepped_advance_ns(36 * SECOND);
		fixture_answer(SERVICE, &late, 0);
		take_operation(CANCEL);
		assert_int_equal(outcome.count, 0);
		stepped_advance_ns(36 * SECOND);
		assert_ended(&outcome, -ETIMEDOUT);
		close(fd);
		fixture_free(ic);
	}
}

static void a_copy_can_be_cancelled(void **state)
{
	struct outcome outcome = {};
	struct ic *ic = connected();
	int fd;

	assert_int_equal(ic_cancel_copy(ic), -ENOENT);
	fd = start(ic, 20000, &outcome);
	answer(START, 0);
	assert_int_equal(ic_cancel_copy(ic), 0);
	assert_int_equal(ic_cancel_copy(ic), 0);
	answer(WRITE, 0);
	answer(CANCEL, 0);
	assert_ended(&outcome, -ECANCELED);
	assert_int_equal(ic_cancel_copy(ic), -ENOENT);
	close(fd);
	fd = start(ic, 1, &outcome);
	answer(START, 0);
	answer(WRITE, 0);
	answer(COMPLETE, 0);
	assert_ended(&outcome, 0);
	close(fd);
	fixture_free(ic);
}

static void a_file_that_becomes_shorter_is_not_copied(void **state)
{
	struct outcome outcome = {};
	struct ic *ic = connected();
	int fd = start(ic, 10000, &outcome);

	answer(START, 0);
	assert_int_equal(ftruncate(fd, 7000), 0);
	answer(WRITE, 0);
	answer(CANCEL, 0);
	assert_ended(&outcome, -ENODATA);
	assert_string_not_equal(outcome.text, "");
	close(fd);
	fixture_free(ic);
}

static void a_file_that_grows_is_copied_as_it_was(void **state)
{
	struct outcome outcome = {};
	struct ic *ic = connected();
	int fd = start(ic, 100, &outcome);

	assert_int_equal(ftruncate(fd, 7000), 0);
	answer(START, 0);
	answer(WRITE, 0);
	answer(COMPLETE, 0);
	assert_ended(&outcome, 0);
	close(fd);
	fixture_free(ic);
}

static void a_ring_that_is_too_small_for_a_piece_ends_the_copy(void **state)
{
	struct outcome outcome = {};
	struct ic *ic = connected();
	int fd = start(ic, 100, &outcome);

	fixture_set_write_result(SERVICE, -EMSGSIZE);
	answer(START, 0);
	assert_ended(&outcome, -EMSGSIZE);
	close(fd);
	fixture_free(ic);
}

static void a_guest_that_goes_away_ends_the_copy(void **state)
{
	static const uint32_t operations[] = {START, WRITE, COMPLETE};

	for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
		struct outcome outcome = {};
		struct ic *ic = connected();
		int fd = start(ic, 100, &outcome);
		struct ic_copy second = {.fd = fd, .guest_path = "/x"};

		assert_int_equal(ic_copy_file(ic, &second, NULL, NULL), -EBUSY);
		for (size_t k = 0; k < i; k++)
			answer(operations[k], 0);
		fixture_close(SERVICE);
		assert_ended(&outcome, -ENOTCONN);
		assert_int_equal(ic_copy_file(ic, &second, NULL, NULL), -ENOTCONN);
		assert_int_equal(ic_cancel_copy(ic), -ENOENT);
		assert_int_equal(stepped_timers_armed(), 0);
		close(fd);
		fixture_free(ic);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_arrives_piece_by_piece),
		cmocka_unit_test(the_start_says_where_to_and_how),
		cmocka_unit_test(paths_are_checked),
		cmocka_unit_test(only_regular_files_are_copied),
		cmocka_unit_test(a_start_that_is_refused_ends_the_copy),
		cmocka_unit_test(a_piece_that_is_refused_cancels_the_copy),
		cmocka_unit_test(an_end_that_is_refused_cancels_the_copy),
		cmocka_unit_test(a_guest_that_is_silent_gets_a_cancel_and_the_copy_times_out),
		cmocka_unit_test(a_copy_can_be_cancelled),
		cmocka_unit_test(a_file_that_becomes_shorter_is_not_copied),
		cmocka_unit_test(a_file_that_grows_is_copied_as_it_was),
		cmocka_unit_test(a_ring_that_is_too_small_for_a_piece_ends_the_copy),
		cmocka_unit_test(a_guest_that_goes_away_ends_the_copy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
