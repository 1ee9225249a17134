/*
 * nbd_test.c - the NBD server, byte by byte
 */
#include <endian.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "nbd_fixture.h"

static struct fixture fixture;
static uint8_t text[40 * MIB], heard[4 * MIB];
static size_t text_bytes, at;
static struct peer peer;
static uint64_t cookie; /* of the request said last */

/* --- what the client says --- */

static void say(const void *bytes, size_t count)
{
	memcpy(text + text_bytes, bytes, count);
	text_bytes += count;
}

static void say_flags(uint32_t flags)
{
	text_bytes = 0;
	say(&(be32){htobe32(flags)}, 4);
}

static void say_option(uint32_t kind, const void *data, uint32_t bytes)
{
	struct nbd_option option = {htobe64(NBD_OPTION_MAGIC), htobe32(kind), htobe32(bytes)};

	say(&option, sizeof(option));
	say(data, bytes);
}

static void say_request(uint16_t command, uint16_t flags, uint64_t offset, uint32_t bytes)
{
	struct nbd_request request = {.magic = htobe32(NBD_REQUEST_MAGIC),
				      .flags = htobe16(flags),
				      .command = htobe16(command),
				      .cookie = htobe64(++cookie),
				      .offset = htobe64(offset),
				      .bytes = htobe32(bytes)};

	say(&request, sizeof(request));
}

#define GO_DATA		       "\0\0\0\0\0\0"
#define CONTEXT_DATA	       "\0\0\0\0\0\0\0\1\0\0\0\17base:allocation"
#define SAY_OPTION(kind, data) say_option(kind, data, sizeof(data) - 1)

static void negotiate(bool structured)
{
	say_flags(NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES);
	if (structured) {
		SAY_OPTION(NBD_OPT_STRUCTURED_REPLY, "");
		SAY_OPTION(NBD_OPT_SET_META_CONTEXT, CONTEXT_DATA);
	}
	SAY_OPTION(NBD_OPT_EXPORT_NAME, "");
}

static void go(bool read_only)
{
	peer = (struct peer){
		.text = text, .bytes = text_bytes, .heard = heard, .heard_size = sizeof(heard)};
	converse(&fixture, read_only, &peer);
	at = 0;
}

/* --- what the server says --- */

static void hear(void *bytes, size_t count)
{
	assert_true(peer.heard_bytes - at >= count);
	memcpy(bytes, heard + at, count);
	at += count;
}

static void hear_greeting(void)
{
	struct nbd_greeting greeting;

	hear(&greeting, sizeof(greeting));
	assert_int_equal(be64toh(greeting.magic), NBD_MAGIC);
	assert_int_equal(be16toh(greeting.flags), 3);
}

static uint32_t hear_option_reply(uint32_t option)
{
	struct nbd_option_reply reply;

	hear(&reply, sizeof(reply));
	assert_int_equal(be64toh(reply.magic), NBD_REPLY_MAGIC);
	assert_int_equal(be32toh(reply.option), option);
	at += be32toh(reply.bytes);
	assert_true(at <= peer.heard_bytes);
	return be32toh(reply.kind);
}

static uint16_t hear_export(void)
{
	struct nbd_export_reply reply;

	hear(&reply, offsetof(struct nbd_export_reply, zeroes));
	assert_int_equal(be64toh(reply.bytes), FIXTURE_DISK_BYTES);
	return be16toh(reply.flags);
}

static void hear_negotiation(bool structured)
{
	hear_greeting();
	if (structured) {
		assert_int_equal(hear_option_reply(NBD_OPT_STRUCTURED_REPLY), NBD_REP_ACK);
		assert_int_equal(hear_option_reply(NBD_OPT_SET_META_CONTEXT), NBD_REP_META_CONTEXT);
		assert_int_equal(hear_option_reply(NBD_OPT_SET_META_CONTEXT), NBD_REP_ACK);
	}
	hear_export();
}

/* Of one reply; its data are at heard + at - ret_bytes. The last request has none. */
static uint32_t hear_reply(size_t simple_bytes, size_t *ret_bytes, uint64_t *ret_cookie)
{
	struct nbd_simple_reply simple;
	struct nbd_chunk chunk;
	be32 error = 0;

	hear(&simple, sizeof(simple));
	if (be32toh(simple.magic) == NBD_SIMPLE_REPLY_MAGIC) {
		*ret_cookie = be64toh(simple.cookie);
		*ret_bytes = simple.error || *ret_cookie == cookie ? 0 : simple_bytes;
		at += *ret_bytes;
		return be32toh(simple.error);
	}
	at -= sizeof(simple);
	hear(&chunk, sizeof(chunk));
	assert_int_equal(be32toh(chunk.magic), NBD_STRUCTURED_REPLY_MAGIC);
	assert_int_equal(be16toh(chunk.flags), NBD_REPLY_FLAG_DONE);
	*ret_bytes = be32toh(chunk.bytes);
	*ret_cookie = be64toh(chunk.cookie);
	if (be16toh(chunk.type) == NBD_REPLY_TYPE_ERROR)
		memcpy(&error, heard + at, sizeof(error));
	at += *ret_bytes;
	assert_true(at <= peer.heard_bytes);
	return be32toh(error);
}

/* --- negotiation --- */

static void an_exports_name_is_answered_with_zeroes_unless_they_are_not_wanted(void **state)
{
	for (unsigned int none = 0; none < 2; none++) {
		say_flags(none ? 3 : 1);
		SAY_OPTION(NBD_OPT_EXPORT_NAME, "");
		go(false);
		hear_greeting();
		hear_export();
		assert_int_equal(peer.heard_bytes - at, none ? 0 : 124);
	}
}

static void each_option_gets_the_replies_that_belong_to_it(void **state)
{
	static const struct {
		uint32_t option;
		const char *data;
		uint32_t bytes;
		uint32_t replies[3];
	} cases[] = {
#define CASE(option, data, ...)                                                                    \
	{                                                                                          \
		option, data, sizeof(data) - 1,                                                    \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}
		CASE(NBD_OPT_LIST, "", NBD_REP_SERVER, NBD_REP_ACK),
		CASE(NBD_OPT_LIST, "x", NBD_REP_ERR_INVALID),
		CASE(NBD_OPT_STARTTLS, "", NBD_REP_ERR_UNSUP),
		CASE(77, "anything", NBD_REP_ERR_UNSUP),
		CASE(NBD_OPT_INFO, GO_DATA, NBD_REP_INFO, NBD_REP_ACK),
		CASE(NBD_OPT_INFO, "\0\0\0\0\0\1\0\3", NBD_REP_INFO, NBD_REP_INFO, NBD_REP_ACK),
		CASE(NBD_OPT_INFO, "\0\0\0\0\0\1\0\2", NBD_REP_INFO, NBD_REP_INFO, NBD_REP_ACK),
		CASE(NBD_OPT_INFO, "\0\0\0\0\0\2\0\3", NBD_REP_ERR_INVALID),
		CASE(NBD_OPT_INFO, "\377\377\377\377\0\0", NBD_REP_ERR_INVALID),
		CASE(NBD_OPT_INFO, "\0\0", NBD_REP_ERR_INVALID),
		CASE(NBD_OPT_GO, "\0\0\0\1x\0\0", NBD_REP_ERR_UNKNOWN),
		CASE(NBD_OPT_SET_META_CONTEXT, CONTEXT_DATA, NBD_REP_ERR_INVALID),
		CASE(NBD_OPT_STRUCTURED_REPLY, "x", NBD_REP_ERR_INVALID),
		CASE(NBD_OPT_STRUCTURED_REPLY, "", NBD_REP_ACK),
		CASE(NBD_OPT_SET_META_CONTEXT, CONTEXT_DATA, NBD_REP_META_CONTEXT, NBD_REP_ACK),
		CASE(NBD_OPT_SET_META_CONTEXT, "\0\0\0\0\0\0\0\1\0\0\0\5base:", NBD_REP_ACK),
		CASE(NBD_OPT_SET_META_CONTEXT,
		     "\0\0\0\0\0\0\0\1\377\377\377\377base:", NBD_REP_ERR_INVALID),
		CASE(NBD_OPT_SET_META_CONTEXT, "\0\0\0\0\377\377\377\377", NBD_REP_ERR_INVALID),
		CASE(NBD_OPT_LIST_META_CONTEXT, "\0\0\0\0\0\0\0\0", NBD_REP_META_CONTEXT,
		     NBD_REP_ACK),
		CASE(NBD_OPT_LIST_META_CONTEXT,
		     "\0\0\0\0\0\0\0\1\0\0\0\5base:", NBD_REP_META_CONTEXT, NBD_REP_ACK),
		CASE(NBD_OPT_LIST_META_CONTEXT, "\0\0\0\0\0\0\0\1\0\0\0\5x-no:", NBD_REP_ACK),
		CASE(NBD_OPT_ABORT, "", NBD_REP_ACK)};

	say_flags(3);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		say_option(cases[i].option, cases[i].data, cases[i].bytes);
	go(false);
	hear_greeting();
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		for (size_t j = 0; j < 3 && cases[i].replies[j]; j++)
			assert_int_equal(hear_option_reply(cases[i].option), cases[i].replies[j]);
	}
	assert_int_equal(at, peer.heard_bytes);
}

static void an_option_that_is_too_long_is_skipped_and_refused(void **state)
{
	say_flags(3);
	memset(text + text_bytes + sizeof(struct nbd_option), 'x', MIB);
	say_option(NBD_OPT_INFO, text + text_bytes + sizeof(struct nbd_option), MIB);
	SAY_OPTION(NBD_OPT_LIST, "");
	go(false);
	hear_greeting();
	assert_int_equal(hear_option_reply(NBD_OPT_INFO), NBD_REP_ERR_TOO_BIG);
	assert_int_equal(hear_option_reply(NBD_OPT_LIST), NBD_REP_SERVER);
}

static void what_is_no_negotiation_ends_the_connection(void **state)
{
	say_flags(4);
	SAY_OPTION(NBD_OPT_LIST, "");
	go(false);
	hear_greeting();
	assert_int_equal(at, peer.heard_bytes);

	say_flags(3);
	say("IHAVENOT\0\0\0\3\0\0\0\0", 16);
	SAY_OPTION(NBD_OPT_LIST, "");
	go(false);
	hear_greeting();
	assert_int_equal(at, peer.heard_bytes);
}

static void flags_say_what_the_export_can(void **state)
{
	static const uint16_t writes = NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES;

	for (unsigned int read_only = 0; read_only < 2; read_only++) {
		uint16_t flags;

		negotiate(false);
		go(read_only);
		hear_greeting();
		flags = hear_export();
		assert_int_equal(flags & NBD_FLAG_READ_ONLY, read_only ? NBD_FLAG_READ_ONLY : 0);
		assert_int_equal(flags & writes, read_only ? 0 : writes);
		assert_int_equal(flags & NBD_FLAG_SEND_DF, 0);
	}
}

/* --- requests --- */

static void a_wrong_request_gets_its_error_and_the_next_one_is_served(void **state)
{
	static const struct {
		bool read_only;
		uint16_t command, flags;
		uint64_t offset;
		uint32_t bytes, error, simple_error;
	} cases[] = {
		{false, NBD_CMD_READ, 0, FIXTURE_DISK_BYTES, 512, NBD_EINVAL, NBD_EINVAL},
		{false, NBD_CMD_READ, 0, UINT64_MAX - 511, 1024, NBD_EINVAL, NBD_EINVAL},
		{false, NBD_CMD_READ, 0, 1, 512, NBD_EINVAL, NBD_EINVAL},
		{false, NBD_CMD_READ, 0, 0, 511, NBD_EINVAL, NBD_EINVAL},
		{false, NBD_CMD_READ, 0x8000, 0, 512, NBD_EINVAL, NBD_EINVAL},
		{false, NBD_CMD_READ, NBD_CMD_FLAG_DF, 0, 512, 0, NBD_EINVAL},
		{false, NBD_CMD_READ, 0, 0, 0, 0, 0},
		{false, NBD_CMD_WRITE, 0, FIXTURE_DISK_BYTES - 512, 1024, NBD_ENOSPC, NBD_ENOSPC},
		{false, NBD_CMD_WRITE, NBD_CMD_FLAG_DF, 0, 512, NBD_EINVAL, NBD_EINVAL},
		{false, NBD_CMD_WRITE, 0, 0, 0, 0, 0},
		{false, NBD_CMD_WRITE_ZEROES, 0, FIXTURE_DISK_BYTES, 512, NBD_ENOSPC, NBD_ENOSPC},
		{false, NBD_CMD_WRITE_ZEROES, 1 << 4, 0, 512, NBD_EINVAL, NBD_EINVAL},
		{false, NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_NO_HOLE, 0, 512, 0, 0},
		{false, NBD_CMD_TRIM, NBD_CMD_FLAG_FUA, 4096, 4096, 0, 0},
		{false, NBD_CMD_TRIM, 0, 0, 0xfffffe00, NBD_EINVAL, NBD_EINVAL},
		{false, NBD_CMD_CACHE, 0, 0, 4096, 0, 0},
		{false, NBD_CMD_FLUSH, 0, 0, 0, 0, 0},
		{false, NBD_CMD_BLOCK_STATUS, 0, 0, 4096, 0, NBD_EINVAL},
		{false, NBD_CMD_BLOCK_STATUS, 0, 0, 0, NBD_EINVAL, NBD_EINVAL},
		{false, 8, 0, 0, 512, NBD_EINVAL, NBD_EINVAL},
		{false, 0xffff, 0, 0, 512, NBD_EINVAL, NBD_EINVAL},
		{true, NBD_CMD_WRITE, 0, 0, 512, NBD_EPERM, NBD_EPERM},
		{true, NBD_CMD_TRIM, 0, 0, 512, NBD_EPERM, NBD_EPERM},
		{true, NBD_CMD_WRITE_ZEROES, 0, 0, 512, NBD_EPERM, NBD_EPERM},
		{true, NBD_CMD_READ, 0, 0, 512, 0, 0},
		{true, NBD_CMD_FLUSH, NBD_CMD_FLAG_FUA, 0, 0, 0, 0}};

	for (size_t i = 0; i < ARRAY_SIZE(cases) * 2; i++) {
		bool structured = i % 2, reads = cases[i / 2].command == NBD_CMD_READ;
		unsigned int answered = 0;
		uint64_t of;
		size_t bytes;

		negotiate(structured);
		say_request(cases[i / 2].command, cases[i / 2].flags, cases[i / 2].offset,
			    cases[i / 2].bytes);
		if (cases[i / 2].command == NBD_CMD_WRITE)
			say(heard, cases[i / 2].bytes);
		say_request(NBD_CMD_CACHE, 0, 0, 512);
		go(cases[i / 2].read_only);
		hear_negotiation(structured);
		/* A request that goes to the disk may be overtaken. */
		for (unsigned int replies = 0; replies < 2; replies++) {
			uint32_t error = hear_reply(reads ? cases[i / 2].bytes : 0, &bytes, &of);
			uint32_t wanted =
				structured ? cases[i / 2].error : cases[i / 2].simple_error;

			if (error != (of == cookie ? 0 : wanted))
				fail_msg("case %zu, structured %d: %u", i / 2, structured, error);
			answered |= of == cookie ? 1 : 2;
		}
		assert_int_equal(answered, 3);
	}
}

static void what_was_written_reads_back(void **state)
{
	static uint8_t data[256 * KIB];
	uint64_t of;
	size_t bytes;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = i * 7 + i / 4096;
	negotiate(true);
	say_request(NBD_CMD_WRITE, NBD_CMD_FLAG_FUA, 65536, sizeof(data));
	say(data, sizeof(data));
	say_request(NBD_CMD_DISC, 0, 0, 0);
	say_request(NBD_CMD_CACHE, 0, 0, 512);
	go(false);
	hear_negotiation(true);
	assert_int_equal(hear_reply(0, &bytes, &of), 0);
	assert_int_equal(at, peer.heard_bytes);

	negotiate(true);
	say_request(NBD_CMD_READ, 0, 65536, sizeof(data));
	go(false);
	hear_negotiation(true);
	assert_int_equal(hear_reply(0, &bytes, &of), 0);
	assert_int_equal(bytes, sizeof(data) + 8);
	assert_memory_equal(heard + at - sizeof(data), data, sizeof(data));
}

/* More than a client may have under way: what does not fit waits, and all is answered. */
static void a_client_may_ask_for_more_at_once_than_it_gets_at_once(void **state)
{
	uint64_t of;
	size_t bytes;

	negotiate(false);
	for (unsigned int i = 0; i < 1000; i++)
		say_request(NBD_CMD_READ, 0, i % 256 * 4096, 3584);
	cookie++; /* all have data */
	go(false);
	hear_negotiation(false);
	for (unsigned int i = 0; i < 1000; i++)
		assert_int_equal(hear_reply(3584, &bytes, &of), 0);
	assert_int_equal(at, peer.heard_bytes);
}

/* A child whose bitmap nobody has read yet. */
static struct disk *open_child(const char *folder, char *child, char *parent, size_t size)
{
	struct disk_create_options options = {.format = DISK_VHD_DYNAMIC,
					      .bytes = FIXTURE_DISK_BYTES};
	const struct disk_options writable = {.by_name = true};
	static const uint8_t sector[512] = {1};
	struct disk_error error;
	struct disk *disk;

	snprintf(parent, size, "%s/parent.vhd", folder);
	snprintf(child, size, "%s/child.vhd", folder);
	assert_int_equal(disk_create(parent, &options, &error), 0);
	options = (struct disk_create_options){.format = DISK_VHD_DIFFERENCING, .parent = parent};
	assert_int_equal(disk_create(child, &options, &error), 0);
	assert_int_equal(disk_open(child, &writable, &disk, &error), 0);
	assert_int_equal(disk_pwrite(disk, 0, sector, sizeof(sector)), 0);
	disk_close(disk);
	assert_int_equal(disk_open(child, &writable, &disk, &error), 0);
	return disk;
}

static void extents_are_asked_for_while_their_bitmap_is_being_read(void **state)
{
	char folder[] = "/tmp/nbd-test-XXXXXX", child[64], parent[64];
	struct disk *raw = fixture.disk;

	assert_non_null(mkdtemp(folder));
	fixture.disk = open_child(folder, child, parent, sizeof(child));
	negotiate(true);
	for (unsigned int i = 0; i < 4; i++) {
		say_request(NBD_CMD_READ, 0, 0, 4096);
		say_request(NBD_CMD_BLOCK_STATUS, 0, 0, 4096);
	}
	go(false);
	assert_true(peer.closed && peer.heard_bytes > 4u * 4096);
	disk_close(fixture.disk);
	fixture.disk = raw;
	unlink(child);
	unlink(parent);
	rmdir(folder);
}

static void what_cannot_be_understood_ends_the_connection_only(void **state)
{
	uint64_t of;
	size_t bytes;

	negotiate(false);
	say("\xff\xff\xff\xff", 4);
	say_request(NBD_CMD_FLUSH, 0, 0, 0);
	go(false);
	hear_negotiation(false);
	assert_int_equal(at, peer.heard_bytes);

	negotiate(false);
	say_request(NBD_CMD_WRITE, 0, 0, NBD_MAX_PAYLOAD + 512);
	say_request(NBD_CMD_FLUSH, 0, 0, 0);
	go(false);
	hear_negotiation(false);
	assert_int_equal(at, peer.heard_bytes);

	/* A write of which not all came. */
	negotiate(false);
	say_request(NBD_CMD_WRITE, 0, 0, 512);
	say("abc", 3);
	go(false);
	hear_negotiation(false);
	assert_int_equal(at, peer.heard_bytes);

	negotiate(false);
	say_request(NBD_CMD_FLUSH, 0, 0, 0);
	go(false);
	hear_negotiation(false);
	assert_int_equal(hear_reply(0, &bytes, &of), 0);
}

static int set_up(void **state)
{
	fixture_start(&fixture);
	return 0;
}

static int tear_down(void **state)
{
	fixture_end(&fixture);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			an_exports_name_is_answered_with_zeroes_unless_they_are_not_wanted),
		cmocka_unit_test(each_option_gets_the_replies_that_belong_to_it),
		cmocka_unit_test(an_option_that_is_too_long_is_skipped_and_refused),
		cmocka_unit_test(what_is_no_negotiation_ends_the_connection),
		cmocka_unit_test(flags_say_what_the_export_can),
		cmocka_unit_test(a_wrong_request_gets_its_error_and_the_next_one_is_served),
		cmocka_unit_test(what_was_written_reads_back),
		cmocka_unit_test(a_client_may_ask_for_more_at_once_than_it_gets_at_once),
		cmocka_unit_test(extents_are_asked_for_while_their_bitmap_is_being_read),
		cmocka_unit_test(what_cannot_be_understood_ends_the_connection_only)};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
