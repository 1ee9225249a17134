/*
 * control_test.c - clients of every kind against a control socket with a fake machine
 *
 * The test is the loop's thread: it runs the loop until an answer is there. What must not happen is
 * shown by what does happen after it, never by waiting.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "control_internal.h"
#include "fake_vm.h"

#define HANG_SECONDS 60

struct fixture {
	char folder[32], path[64];
	struct loop *loop;
	struct control *control;
	struct loop_work stop;
};

/* A client's side of a connection. */
struct end {
	struct fixture *fixture;
	int fd;
	char *bytes; /* received and not looked at yet */
	size_t count, size;
	bool closed;
};

/* --- the loop --- */

static void stop_loop(struct loop_work *work)
{
	loop_stop(container_of(work, struct fixture, stop)->loop);
}

/* A few rounds of the loop; what is ready is served sooner or later. */
static void pump(struct fixture *fixture)
{
	for (int i = 0; i < 4; i++) {
		loop_post(fixture->loop, &fixture->stop);
		assert_int_equal(loop_run(fixture->loop), 0);
	}
}

static void guard(uint64_t start_ns, const char *what)
{
	if (monotonic_ns() - start_ns > HANG_SECONDS * 1000000000ull)
		fail_msg("never came: %s", what);
}

#define PUMP_UNTIL(fixture, condition)                                                             \
	do {                                                                                       \
		uint64_t start_ns = monotonic_ns();                                                \
		while (!(condition)) {                                                             \
			pump(fixture);                                                             \
			guard(start_ns, #condition);                                               \
		}                                                                                  \
	} while (0)

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	fake_start();
	strcpy(fixture->folder, "/tmp/control_test.XXXXXX");
	assert_non_null(mkdtemp(fixture->folder));
	snprintf(fixture->path, sizeof(fixture->path), "%s/socket", fixture->folder);
	fixture->stop.run = stop_loop;
	assert_int_equal(loop_new(&fixture->loop), 0);
	assert_int_equal(control_new(fixture->loop, fixture->path, NULL, &fixture->control), 0);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	control_free(fixture->control);
	loop_free(fixture->loop);
	unlink(fixture->path);
	assert_int_equal(rmdir(fixture->folder), 0);
	free(fixture);
	return 0;
}

/* --- a client --- */

static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	if (!connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return fd;
	close(fd);
	return -1;
}

static struct end open_end(struct fixture *fixture)
{
	struct end end = {.fixture = fixture, .fd = connect_to(fixture->path)};

	assert_true(end.fd >= 0);
	return end;
}

static void close_end(struct end *end)
{
	close(end->fd);
	free(end->bytes);
	*end = (struct end){.fd = -1};
}

static void receive(struct end *end)
{
	ssize_t n;

	if (end->size - end->count < 65536) {
		end->size = end->count + 2 * 65536;
		end->bytes = realloc(end->bytes, end->size);
		assert_non_null(end->bytes);
	}
	n = recv(end->fd, end->bytes + end->count, end->size - end->count - 1, MSG_DONTWAIT);
	if (n > 0)
		end->count += n;
	else if (!n || errno != EAGAIN)
		end->closed = true;
}

/* All of it, with the loop running and answers taken meanwhile. */
static void send_bytes(struct end *end, const char *bytes, size_t count)
{
	uint64_t start_ns = monotonic_ns();

	while (count) {
		ssize_t n = send(end->fd, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL);

		assert_true(n > 0 || errno == EAGAIN);
		bytes += MAX(n, 0);
		count -= MAX(n, 0);
		if (n < 0) {
			pump(end->fixture);
			receive(end);
		}
		guard(start_ns, "room to send");
	}
}

static void send_line(struct end *end, const char *line)
{
	send_bytes(end, line, strlen(line));
	send_bytes(end, "\n", 1);
}

static char *newline_of(struct end *end)
{
	receive(end);
	return end->count ? memchr(end->bytes, '\n', end->count) : NULL;
}

/* The next answer, whole. The caller owns it. */
static json_t *answer_of(struct end *end)
{
	json_error_t error;
	json_t *answer;
	char *newline;
	size_t length;

	PUMP_UNTIL(end->fixture, (newline = newline_of(end)) || end->closed);
	if (!newline)
		fail_msg("the connection was closed");
	length = newline - end->bytes;
	answer = json_loadb(end->bytes, length, 0, &error);
	if (!answer)
		fail_msg("no JSON: %.*s", (int)length, end->bytes);
	end->count -= length + 1;
	memmove(end->bytes, newline + 1, end->count);
	return answer;
}

static json_t *ask(struct end *end, const char *line)
{
	send_line(end, line);
	return answer_of(end);
}

/* "ok", or the code of the error. */
static const char *code_of(json_t *answer)
{
	if (json_is_true(json_object_get(answer, "ok")))
		return "ok";
	return json_string_value(json_object_get(json_object_get(answer, "error"), "code")) ?: "?";
}

static const char *message_of(json_t *answer)
{
	return json_string_value(json_object_get(json_object_get(answer, "error"), "message"))
		       ?: "";
}

static void expect_code(json_t *answer, const char *code)
{
	if (strcmp(code_of(answer), code)) {
		char *text = json_dumps(answer, 0);

		fail_msg("wanted %s, got %s", code, text);
	}
	json_decref(answer);
}

static void expect_answer(struct end *end, const char *code)
{
	expect_code(answer_of(end), code);
}

/* Another client, to see that the machine still answers. */
static void expect_alive(struct fixture *fixture)
{
	struct end end = open_end(fixture);

	expect_code(ask(&end, "{\"request\":\"status\"}"), "ok");
	close_end(&end);
}

static void expect_text(json_t *answer, const char *wanted)
{
	char *text = json_dumps(answer, JSON_COMPACT | JSON_SORT_KEYS);

	assert_non_null(text);
	if (!strstr(text, wanted))
		fail_msg("no %s in %s", wanted, text);
	free(text);
	json_decref(answer);
}

/* --- requests --- */

static void each_request_reaches_the_machine_and_its_result_the_client(void **state)
{
	static const struct {
		const char *line, *said, *result;
		bool waits;
		size_t pairs;
	} cases[] = {
		{"'request':'status'", "", "'guest_os':'Linux 6.1.192'"},
		{"'request':'status'", "", "'uptime_ms':1500,'vmbus':'5.3'"},
		{"'request':'services'", "", "'framework':'3.1','message':'5.0'"},
		{"'request':'heartbeat'", "", "'age_ms':1200,'applications':'fine'"},
		{"'request':'power-button'", "power button\n", "{}"},
		{"'request':'reset'", "reset\n", "{}"},
		{"'request':'stop'", "stop\n", "{}"},
		{"'request':'time-sync'", "time step=0\n", "{}"},
		{"'request':'time-sync','step':true", "time step=1\n", "{}"},
		{"'request':'shutdown'", "shutdown 0 force=0 reason=none\n", "{}", true},
		{"'request':'shutdown','kind':'reboot','force':true,'reason':'r'",
		 "shutdown 1 force=1 reason=r\n", "{}", true},
		{"'request':'freeze'", "freeze\n", "{}", true},
		{"'request':'keep-frozen'", "keep frozen\n", "{}"},
		{"'request':'thaw'", "thaw\n", "{}", true},
		{"'request':'kvp-get','pool':'auto','key':'k'", "get 2 k\n",
		 "'key':'key','value':'text'", true, 1},
		{"'request':'kvp-list','pool':'guest'", "list 1\n",
		 "'pairs':[{'key':'key','value':'text'},{'key':'key','value':'text'}]", true, 2},
		{"'request':'kvp-list','pool':'guest'", "list 1\n", "'pairs':[]", true, 0},
		{"'request':'kvp-set','pool':'external','key':'k','value':''", "set 0 k=\n", "{}",
		 true},
		{"'request':'kvp-delete','pool':'auto-external','key':'k'", "delete 3 k\n", "{}",
		 true},
		{"'request':'kvp-ip','mac':'00:15'", "ip 00:15\n",
		 "'addresses':[{'kind':'key','value':'text'}]", true, 1},
		{"'request':'disks'", "",
		 "'drives':[{'bus':'scsi','controller':0,'kind':'disk','lun':0,'path':'/d',"
		 "'read_only':false}"},
		{"'request':'disk-add','path':'/a','bus':'ide','controller':1,'lun':1,"
		 "'read_only':true,'format':'vhd'",
		 "attach 1:1:1 dvd=0 ro=1 format=2 /a\n", "'bus':'ide'"},
		{"'request':'disk-add','path':'/a'", "attach 0:0:1 dvd=0 ro=0 format=0 /a\n",
		 "'lun':1"},
		{"'request':'disk-add','dvd':true", "attach 0:0:1 dvd=1 ro=1 format=0 nothing\n",
		 "'path':null"},
		{"'request':'disk-remove','lun':63", "detach 0:0:63\n", "{}", true},
		{"'request':'dvd-insert','lun':2,'path':'/i'", "medium 0:0:2 /i\n", "{}"},
		{"'request':'dvd-eject','bus':'ide','controller':1,'lun':0",
		 "medium 1:1:0 nothing\n", "{}"},
	};
	struct fixture *fixture = *state;
	struct end end = open_end(fixture);

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char line[256], result[256];

		fake_start();
		fake.drives[0] = (struct vm_drive){.path = "/d"};
		fake.drives[1] = (struct vm_drive){.lun = 2, .dvd = true, .read_only = true};
		fake.drive_count = 2;
		snprintf(line, sizeof(line), "{'id':%zu,%s}", i, cases[i].line);
		snprintf(result, sizeof(result), "%s", cases[i].result);
		for (char *at = line; *at; at++)
			*at = *at == '\'' ? '"' : *at;
		for (char *at = result; *at; at++)
			*at = *at == '\'' ? '"' : *at;
		send_line(&end, line);
		if (cases[i].waits) {
			PUMP_UNTIL(fixture, fake.waiting_count);
			fake_finish(0, "", cases[i].pairs);
		}
		json_t *answer = answer_of(&end);

		assert_int_equal(json_integer_value(json_object_get(answer, "id")), i);
		assert_string_equal(code_of(answer), "ok");
		expect_text(answer, result);
		assert_string_equal(fake.said, cases[i].said);
	}
	close_end(&end);
}

static void a_wrong_request_gets_a_code_and_says_what_is_wrong(void **state)
{
	static const struct {
		const char *line, *code, *says;
	} cases[] = {
		{"", "bad-json", "byte"},
		{"{", "bad-json", "byte"},
		{"{} {}", "bad-json", "end of file expected"},
		{"\xff\xfe", "bad-json", "byte"},
		{"{\"id\":1,\"id\":2,\"request\":\"status\"}", "bad-json", "duplicate"},
		{"{\"id\":99999999999999999999999,\"request\":\"status\"}", "bad-json", "integer"},
		{"{\"id\":1e999,\"request\":\"status\"}", "bad-json", "real number"},
		{"{\"id\":\"\\u0000\",\"request\":\"status\"}", "bad-json", "u0000"},
		{"[]]", "bad-json", "byte"},
		{"[1]", "bad-request", "object"},
		{"\"status\"", "bad-json", "byte"},
		{"{}", "unknown-request", "'request'"},
		{"{\"request\":1}", "unknown-request", "'request'"},
		{"{\"request\":\"Status\"}", "unknown-request", "'request'"},
		{"{\"request\":\"status\",\"x\":1}", "bad-request", "'x' is no member of 'status'"},
		{"{\"request\":\"shutdown\",\"force\":1}", "bad-request", "true or false"},
		{"{\"request\":\"shutdown\",\"kind\":\"off\"}", "bad-request",
		 "one of power-off, reboot, hibernate"},
		{"{\"request\":\"shutdown\",\"kind\":null}", "bad-request", "'kind'"},
		{"{\"request\":\"kvp-get\",\"pool\":\"auto\"}", "bad-request", "'key' is missing"},
		{"{\"request\":\"kvp-get\",\"key\":\"k\"}", "bad-request", "'pool' is missing"},
		{"{\"request\":\"kvp-get\",\"pool\":\"auto\",\"key\":[]}", "bad-request",
		 "a string"},
		{"{\"request\":\"disk-remove\"}", "bad-request", "'lun' is missing"},
		{"{\"request\":\"disk-remove\",\"lun\":64}", "bad-request", "from 0 to 63"},
		{"{\"request\":\"disk-remove\",\"lun\":-1}", "bad-request", "from 0 to 63"},
		{"{\"request\":\"disk-remove\",\"lun\":1.0}", "bad-request", "from 0 to 63"},
		{"{\"request\":\"disk-remove\",\"lun\":1,\"controller\":4}", "bad-request",
		 "from 0 to 3"},
		{"{\"request\":\"disk-add\",\"path\":\"a\"}", "bad-request", "absolute"},
		{"{\"request\":\"disk-add\",\"path\":\"\"}", "bad-request", "absolute"},
		{"{\"request\":\"disk-add\"}", "invalid", "only a DVD drive"},
		{"{\"request\":\"copy-file\",\"path\":\"/a\"}", "bad-request", "descriptor"},
	};
	struct fixture *fixture = *state;
	struct end end = open_end(fixture);

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		json_t *answer = ask(&end, cases[i].line);

		if (strcmp(code_of(answer), cases[i].code) ||
		    !strstr(message_of(answer), cases[i].says))
			fail_msg("%s: %s, \"%s\"", cases[i].line, code_of(answer),
				 message_of(answer));
		json_decref(answer);
	}
	assert_int_equal(fake.calls, 0);
	expect_code(ask(&end, "{\"request\":\"status\"}"), "ok");
	close_end(&end);
}

static void what_the_machine_says_against_it_becomes_a_code(void **state)
{
	static const struct {
		int result;
		const char *code;
	} cases[] = {
		{-ENOTCONN, "not-connected"}, {-ETIMEDOUT, "timed-out"},   {-EBUSY, "busy"},
		{-EREMOTEIO, "refused"},      {-ENOTSUP, "not-supported"}, {-ENOENT, "not-found"},
		{-EPROTO, "bad-answer"},      {-ECANCELED, "cancelled"},   {-EIO, "failed"},
	};
	struct end end = open_end(*state);

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		fake.result = cases[i].result;
		expect_code(ask(&end, "{\"request\":\"freeze\"}"), cases[i].code);
		fake.result = 0;
		send_line(&end, "{\"request\":\"freeze\"}");
		PUMP_UNTIL(*state, fake.waiting_count);
		fake_finish(cases[i].result, "what the guest said", 0);
		json_t *answer = answer_of(&end);

		assert_string_equal(message_of(answer), "what the guest said");
		expect_code(answer, cases[i].code);
	}
	fake.result = -EBADMSG;
	fake.text = "footer \x80 damaged";
	json_t *answer = ask(&end, "{\"request\":\"disk-add\",\"path\":\"/a\"}");

	assert_string_equal(message_of(answer), "footer ? damaged");
	expect_code(answer, "damaged");
	close_end(&end);
}

static void refusals_name_the_value_and_what_would_do(void **state)
{
	static const struct {
		int result;
		const char *line, *says;
	} cases[] = {
		{-EINVAL, "{\"request\":\"kvp-ip\",\"mac\":\"00:15\"}",
		 "'00:15' is no MAC address of a network adapter; one looks like 00:15:5d:"},
		{-ENOENT, "{\"request\":\"disk-remove\",\"lun\":5}",
		 "there is no drive at scsi 0:5; there is scsi 0:0, ide 1:1"},
		{-ENOENT, "{\"request\":\"dvd-eject\",\"lun\":5,\"bus\":\"ide\"}",
		 "there is no drive at ide 0:5; there is scsi 0:0, ide 1:1"},
		{-ENOTSUP, "{\"request\":\"disk-remove\",\"lun\":1,\"bus\":\"ide\"}",
		 "as long as the guest runs"},
		{-EBUSY, "{\"request\":\"disk-remove\",\"lun\":1}", "being removed already"},
		{0, "{\"request\":\"copy-file\",\"path\":\"tmp/a\"}",
		 "'path' must be an absolute path, which begins with /, not \"tmp/a\""},
		{0, "{\"request\":\"disk-remove\",\"lun\":64}", "from 0 to 63, not 64"},
	};
	struct end end = open_end(*state);

	fake.drives[1] = (struct vm_drive){.bus = VM_BUS_IDE, .controller = 1, .lun = 1};
	fake.drive_count = 2;
	fake.text = "";
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		json_t *answer;

		fake.result = cases[i].result;
		answer = ask(&end, cases[i].line);
		if (!strstr(message_of(answer), cases[i].says))
			fail_msg("%s: \"%s\"", cases[i].line, message_of(answer));
		json_decref(answer);
	}
	fake.result = -ENOENT;
	fake.drive_count = 0;
	json_t *answer = ask(&end, "{\"request\":\"disk-remove\",\"lun\":0}");

	assert_non_null(strstr(message_of(answer), "there is none at all"));
	expect_code(answer, "not-found");
	close_end(&end);
}

static void without_services_requests_to_the_guest_say_so(void **state)
{
	static const char *const requests[] = {
		"services", "heartbeat", "shutdown", "time-sync", "freeze", "keep-frozen", "thaw",
	};
	struct end end = open_end(*state);

	fake.has_services = false;
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		char line[64];

		snprintf(line, sizeof(line), "{\"request\":\"%s\"}", requests[i]);
		expect_code(ask(&end, line), "not-connected");
	}
	expect_code(ask(&end, "{\"request\":\"status\"}"), "ok");
	close_end(&end);
}

static void an_id_of_any_kind_comes_back(void **state)
{
	static const char *const ids[] = {
		"1", "-9223372036854775808", "\"a\\nb\"", "[{},[null]]", "1.5", "null", "true"};
	struct end end = open_end(*state);

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		char line[128], wanted[64];

		snprintf(line, sizeof(line), "{\"request\":\"status\",\"id\":%s}", ids[i]);
		snprintf(wanted, sizeof(wanted), "\"id\":%s,", ids[i]);
		expect_text(ask(&end, line), wanted);
	}
	close_end(&end);
}

static void who_waits_for_the_guest_does_not_hold_up_others(void **state)
{
	struct end end = open_end(*state);

	send_line(&end, "{\"id\":1,\"request\":\"freeze\"}");
	send_line(&end, "{\"id\":2,\"request\":\"status\"}");
	expect_text(answer_of(&end), "\"id\":2");
	assert_int_equal(fake.waiting_count, 1);
	fake_finish(0, "", 0);
	expect_text(answer_of(&end), "\"id\":1");
	close_end(&end);
}

/* --- lines --- */

static void lines_may_come_in_pieces_and_in_bunches(void **state)
{
	static const char line[] = "{\"request\":\"status\"}\r\n";
	struct end end = open_end(*state);
	char bunch[10 * sizeof(line)] = "";

	for (size_t i = 0; i < sizeof(line) - 1; i++) {
		send_bytes(&end, line + i, 1);
		pump(*state);
	}
	expect_answer(&end, "ok");
	for (int i = 0; i < 10; i++)
		strcat(bunch, line);
	send_bytes(&end, bunch, strlen(bunch) - 1);
	for (int i = 0; i < 9; i++)
		expect_answer(&end, "ok");
	send_bytes(&end, "\n", 1);
	expect_answer(&end, "ok");
	close_end(&end);
}

static void a_request_has_at_most_64_kib(void **state)
{
	static const char line[] = "{\"request\":\"status\"}";
	static const size_t lengths[] = {MAX_REQUEST_BYTES - 1, MAX_REQUEST_BYTES,
					 MAX_REQUEST_BYTES + 1, 5 * MAX_REQUEST_BYTES};
	struct end end = open_end(*state);

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		char *text = malloc(lengths[i]);

		memset(text, ' ', lengths[i]);
		memcpy(text, line, strlen(line));
		send_bytes(&end, text, lengths[i]);
		send_bytes(&end, "\n", 1);
		free(text);
		expect_answer(&end, lengths[i] < MAX_REQUEST_BYTES ? "ok" : "too-large");
		expect_code(ask(&end, line), "ok");
	}
	close_end(&end);
}

static void deep_nesting_is_answered(void **state)
{
	static char line[60000];
	struct end end = open_end(*state);
	json_t *answer;

	memset(line, '[', sizeof(line) - 1);
	expect_code(ask(&end, line), "bad-json");
	/* As an id, as deep as it may be. */
	memset(line, 0, sizeof(line));
	strcpy(line, "{\"request\":\"status\",\"id\":");
	memset(line + strlen(line), '[', 2000);
	memset(line + strlen(line), ']', 2000);
	strcat(line, "}");
	answer = ask(&end, line);
	assert_true(json_is_array(json_object_get(answer, "id")));
	expect_code(answer, "ok");
	close_end(&end);
}

static void an_answer_that_is_too_long_is_an_error(void **state)
{
	static char value[1000];
	static char line[60000];
	struct end end = open_end(*state);

	memset(value, '\1', sizeof(value) - 1);
	fake.text = value;
	send_line(&end, "{\"id\":5,\"request\":\"kvp-list\",\"pool\":\"auto\"}");
	PUMP_UNTIL(*state, fake.waiting_count);
	fake_finish(0, "", 4096);
	json_t *answer = answer_of(&end);

	assert_int_equal(json_integer_value(json_object_get(answer, "id")), 5);
	expect_code(answer, "too-large");
	/* An id that grows: "1e99" comes back with all its digits. */
	strcpy(line, "{\"request\":\"status\",\"id\":[1e99");
	for (size_t used = strlen(line); used < sizeof(line) - 10; used += 5)
		strcpy(line + used, ",1e99");
	strcat(line, "]}");
	json_decref(ask(&end, line));
	expect_code(ask(&end, "{\"request\":\"heartbeat\"}"), "ok");
	close_end(&end);
}

/* --- bounds --- */

static void requests_beyond_the_bound_wait_their_turn(void **state)
{
	struct end end = open_end(*state);
	size_t answered = 0;

	for (int i = 0; i < 20; i++)
		send_line(&end, "{\"request\":\"freeze\"}");
	PUMP_UNTIL(*state, fake.waiting_count == MAX_CALLS);
	expect_alive(*state);
	assert_int_equal(fake.calls, MAX_CALLS);
	while (answered < 20) {
		PUMP_UNTIL(*state, fake.waiting_count);
		fake_finish(0, "", 0);
		expect_answer(&end, "ok");
		answered++;
		assert_true(fake.calls <= answered + MAX_CALLS);
	}
	assert_int_equal(fake.calls, 20);
	close_end(&end);
}

/* Sends until nothing more is taken in; the socket's buffers have an end, and so have ours. */
static void a_client_that_does_not_read_is_not_listened_to(void **state)
{
	static const char line[] = "{\"request\":\"time-sync\"}\n";
	struct end end = open_end(*state);
	size_t sent = 0, before;

	do {
		before = fake.calls;
		for (ssize_t n = 0; n >= 0; sent += MAX(n, 0)) {
			size_t at = sent % (sizeof(line) - 1);

			n = send(end.fd, line + at, sizeof(line) - 1 - at, MSG_DONTWAIT);
		}
		expect_alive(*state);
	} while (fake.calls != before);
	/* Now it reads, and everything is answered. */
	send_bytes(&end, line + sent % (sizeof(line) - 1),
		   sizeof(line) - 1 - sent % (sizeof(line) - 1));
	for (size_t i = 0; i < sent / (sizeof(line) - 1) + 1; i++)
		expect_answer(&end, "ok");
	close_end(&end);
}

static void a_connection_too_many_is_told_so(void **state)
{
	struct end ends[MAX_CLIENTS], late;

	for (size_t i = 0; i < MAX_CLIENTS; i++) {
		ends[i] = open_end(*state);
		expect_code(ask(&ends[i], "{\"request\":\"status\"}"), "ok");
	}
	late = open_end(*state);
	expect_answer(&late, "too-many-clients");
	PUMP_UNTIL(*state, (receive(&late), late.closed));
	close_end(&late);
	for (size_t i = 0; i < MAX_CLIENTS; i++)
		close_end(&ends[i]);
	PUMP_UNTIL(*state, !((struct fixture *)*state)->control->client_count);
	expect_alive(*state);
}

/* --- clients that go --- */

static void a_client_may_vanish_while_its_request_waits(void **state)
{
	struct fixture *fixture = *state;
	struct end end = open_end(fixture);

	send_line(&end, "{\"request\":\"freeze\"}");
	send_line(&end, "{\"request\":\"kvp-list\",\"pool\":\"auto\"}");
	send_line(&end, "{\"request\":\"disk-remove\",\"lun\":0}");
	PUMP_UNTIL(fixture, fake.waiting_count == 3);
	close_end(&end);
	PUMP_UNTIL(fixture, !fixture->control->client_count);
	for (int i = 0; i < 3; i++)
		fake_finish(0, "", 3);
	assert_null(fixture->control->calls);
	expect_alive(fixture);
}

static void a_client_that_vanishes_with_more_waiting_is_noticed(void **state)
{
	struct fixture *fixture = *state;
	struct end end = open_end(fixture);

	for (int i = 0; i < 20; i++)
		send_line(&end, "{\"request\":\"freeze\"}");
	PUMP_UNTIL(fixture, fake.waiting_count == MAX_CALLS);
	close_end(&end);
	PUMP_UNTIL(fixture, !fixture->control->client_count);
	while (fake.waiting_count)
		fake_finish(0, "", 0);
	assert_int_equal(fake.calls, MAX_CALLS);
}

static void who_only_stops_sending_gets_the_answers(void **state)
{
	struct fixture *fixture = *state;
	struct end end = open_end(fixture);

	send_line(&end, "{\"request\":\"freeze\"}");
	send_line(&end, "{\"request\":\"status\"}");
	shutdown(end.fd, SHUT_WR);
	expect_answer(&end, "ok");
	PUMP_UNTIL(fixture, fake.waiting_count);
	assert_int_equal(fixture->control->client_count, 1);
	fake_finish(0, "", 0);
	expect_answer(&end, "ok");
	PUMP_UNTIL(fixture, (receive(&end), end.closed));
	close_end(&end);
}

static void a_request_before_hanging_up_is_still_done(void **state)
{
	struct end end = open_end(*state);

	send_line(&end, "{\"request\":\"power-button\"}");
	close_end(&end);
	PUMP_UNTIL(*state, fake.calls);
	assert_string_equal(fake.said, "power button\n");
}

static void requests_outlive_the_control_socket(void **state)
{
	struct fixture *fixture = *state;
	struct end end = open_end(fixture);

	send_line(&end, "{\"request\":\"freeze\"}");
	send_line(&end, "{\"request\":\"kvp-get\",\"pool\":\"auto\",\"key\":\"k\"}");
	PUMP_UNTIL(fixture, fake.waiting_count == 2);
	control_free(TAKE(fixture->control));
	fake_finish(0, "", 0);
	fake_finish(-ENOTCONN, "", 1);
	PUMP_UNTIL(fixture, (receive(&end), end.closed));
	close_end(&end);
}

/* --- descriptors --- */

static size_t open_descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	size_t count = 0;

	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

static void send_with_descriptors(struct end *end, const char *line, const int *fds, size_t count)
{
	char control[CMSG_SPACE(4 * sizeof(int))] = {};
	struct iovec iov = {(void *)line, strlen(line)};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = CMSG_SPACE(count * sizeof(int))};
	struct cmsghdr *part = CMSG_FIRSTHDR(&message);

	part->cmsg_level = SOL_SOCKET;
	part->cmsg_type = SCM_RIGHTS;
	part->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(part), fds, count * sizeof(int));
	assert_int_equal(sendmsg(end->fd, &message, 0), strlen(line));
}

static void a_file_is_copied_by_its_descriptor(void **state)
{
	static const char line[] = "{\"request\":\"copy-file\",\"path\":\"/root/a\"}\n";
	struct fixture *fixture = *state;
	struct end end = open_end(fixture);
	int file = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	struct stat ours, theirs;
	size_t before = 0;

	expect_code(ask(&end, "{\"request\":\"status\"}"), "ok");
	before = open_descriptors();
	for (int i = 0; i < 3; i++) {
		send_with_descriptors(&end, line, &file, 1);
		PUMP_UNTIL(fixture, fake.waiting_count);
		assert_int_equal(fstat(file, &ours) | fstat(fake.copy_fd, &theirs), 0);
		assert_int_equal(ours.st_ino, theirs.st_ino);
		assert_int_not_equal(fake.copy_fd, file);
		fake_finish(0, "", 0);
		expect_text(answer_of(&end), "\"bytes\":42");
	}
	/* The descriptor was used up. */
	send_line(&end, "{\"request\":\"copy-file\",\"path\":\"/root/a\"}");
	expect_answer(&end, "bad-request");
	assert_int_equal(open_descriptors(), before);
	close_end(&end);
	close(file);
}

static void descriptors_that_nobody_takes_are_closed(void **state)
{
	struct fixture *fixture = *state;
	struct end end = open_end(fixture);
	int file = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	int files[4] = {file, file, file, file};
	size_t before;

	expect_code(ask(&end, "{\"request\":\"status\"}"), "ok");
	before = open_descriptors();
	for (size_t count = 1; count <= 4; count++) {
		send_with_descriptors(&end, "{\"request\":\"status\"}\n", files, count);
		expect_answer(&end, "ok");
		assert_in_range(open_descriptors(), before, before + 1);
	}
	close_end(&end);
	PUMP_UNTIL(fixture, !fixture->control->client_count);
	assert_int_equal(open_descriptors(), before - 2);
	close(file);
}

static void a_connection_sent_over_itself_still_closes(void **state)
{
	static const char line[] = "{\"request\":\"copy-file\",\"path\":\"/root/a\"}\n";
	struct fixture *fixture = *state;
	struct end end = open_end(fixture);

	send_with_descriptors(&end, line, &end.fd, 1);
	expect_answer(&end, "bad-request");
	close_end(&end);
	PUMP_UNTIL(fixture, !fixture->control->client_count);
}

static void a_copy_ends_when_its_client_goes(void **state)
{
	static const char line[] = "{\"request\":\"copy-file\",\"path\":\"/root/a\"}\n";
	struct fixture *fixture = *state;
	struct end end = open_end(fixture);
	int file = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);

	send_with_descriptors(&end, line, &file, 1);
	PUMP_UNTIL(fixture, fake.waiting_count);
	assert_int_equal(fake.cancelled_copies, 0);
	close_end(&end);
	PUMP_UNTIL(fixture, fake.cancelled_copies == 1);
	fake_finish(-ECANCELED, "", 0);
	close(file);
}

/* --- the path --- */

static void the_socket_is_its_users_alone_and_goes_with_the_machine(void **state)
{
	struct fixture *fixture = *state;
	struct stat status;

	assert_int_equal(lstat(fixture->path, &status), 0);
	assert_true(S_ISSOCK(status.st_mode));
	assert_int_equal(status.st_mode & 0777, 0600);
	control_free(TAKE(fixture->control));
	assert_int_equal(lstat(fixture->path, &status), -1);
}

static void a_path_in_use_is_left_alone(void **state)
{
	struct fixture *fixture = *state;
	struct control *second;
	char file[64], far[200];
	int fd;

	assert_int_equal(control_new(fixture->loop, fixture->path, NULL, &second), -EADDRINUSE);
	expect_alive(fixture);
	snprintf(file, sizeof(file), "%s/file", fixture->folder);
	fd = open(file, O_CREAT | O_RDONLY | O_CLOEXEC, 0600);
	close(fd);
	assert_int_equal(control_new(fixture->loop, file, NULL, &second), -EEXIST);
	assert_int_equal(unlink(file), 0);
	snprintf(far, sizeof(far), "%s/%0150d", fixture->folder, 0);
	assert_int_equal(control_new(fixture->loop, far, NULL, &second), -ENAMETOOLONG);
	assert_int_equal(control_new(fixture->loop, "", NULL, &second), -ENOENT);
	snprintf(far, sizeof(far), "%s/no/socket", fixture->folder);
	assert_int_equal(control_new(fixture->loop, far, NULL, &second), -ENOENT);
}

static void a_socket_that_nobody_listens_at_is_replaced(void **state)
{
	struct fixture *fixture = *state;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	control_free(TAKE(fixture->control));
	strcpy(address.sun_path, fixture->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	assert_int_equal(control_new(fixture->loop, fixture->path, NULL, &fixture->control), 0);
	expect_alive(fixture);
}

static void somebody_elses_socket_is_not_removed(void **state)
{
	struct fixture *fixture = *state;
	struct control *second;
	struct stat status;

	assert_int_equal(unlink(fixture->path), 0);
	assert_int_equal(control_new(fixture->loop, fixture->path, NULL, &second), 0);
	control_free(TAKE(fixture->control));
	assert_int_equal(lstat(fixture->path, &status), 0);
	control_free(second);
	assert_int_equal(lstat(fixture->path, &status), -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(each_request_reaches_the_machine_and_its_result_the_client),
		TEST(a_wrong_request_gets_a_code_and_says_what_is_wrong),
		TEST(what_the_machine_says_against_it_becomes_a_code),
		TEST(refusals_name_the_value_and_what_would_do),
		TEST(without_services_requests_to_the_guest_say_so),
		TEST(an_id_of_any_kind_comes_back),
		TEST(who_waits_for_the_guest_does_not_hold_up_others),
		TEST(lines_may_come_in_pieces_and_in_bunches),
		TEST(a_request_has_at_most_64_kib),
		TEST(deep_nesting_is_answered),
		TEST(an_answer_that_is_too_long_is_an_error),
		TEST(requests_beyond_the_bound_wait_their_turn),
		TEST(a_client_that_does_not_read_is_not_listened_to),
		TEST(a_connection_too_many_is_told_so),
		TEST(a_client_may_vanish_while_its_request_waits),
		TEST(a_client_that_vanishes_with_more_waiting_is_noticed),
		TEST(who_only_stops_sending_gets_the_answers),
		TEST(a_request_before_hanging_up_is_still_done),
		TEST(requests_outlive_the_control_socket),
		TEST(a_file_is_copied_by_its_descriptor),
		TEST(descriptors_that_nobody_takes_are_closed),
		TEST(a_connection_sent_over_itself_still_closes),
		TEST(a_copy_ends_when_its_client_goes),
		TEST(the_socket_is_its_users_alone_and_goes_with_the_machine),
		TEST(a_path_in_use_is_left_alone),
		TEST(a_socket_that_nobody_listens_at_is_replaced),
		TEST(somebody_elses_socket_is_not_removed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
