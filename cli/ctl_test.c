/*
 * ctl_test.c - `mullion ctl` against a thread that plays the machine
 *
 * The thread takes one connection, keeps the line that comes, and sends the answer of the case.
 */
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "run_options.h"

#define MAX_TEST_WORDS 12

struct machine {
	char folder[32], path[64];
	int listener;
	pthread_t thread;
	const char *answer; /* NULL: closes instead */
	char request[4096];
	char file[64]; /* what the descriptor that came along begins with */
};

/* --- the machine --- */

static void take_file(struct machine *machine, struct msghdr *message)
{
	struct cmsghdr *part = CMSG_FIRSTHDR(message);
	ssize_t n;
	int fd;

	if (!part)
		return;
	memcpy(&fd, CMSG_DATA(part), sizeof(fd));
	n = read(fd, machine->file, sizeof(machine->file) - 1);
	machine->file[MAX(n, 0)] = 0;
	close(fd);
}

static void take_request(struct machine *machine, int fd)
{
	char control[CMSG_SPACE(sizeof(int))];
	size_t count = 0;
	ssize_t n = 1;

	while (n > 0 && !memchr(machine->request, '\n', count)) {
		struct iovec iov = {machine->request + count, sizeof(machine->request) - count - 1};
		struct msghdr message = {.msg_iov = &iov,
					 .msg_iovlen = 1,
					 .msg_control = control,
					 .msg_controllen = sizeof(control)};

		n = recvmsg(fd, &message, 0);
		if (n > 0) {
			count += n;
			take_file(machine, &message);
		}
	}
	machine->request[count] = 0;
}

static void *serve(void *ctx)
{
	struct machine *machine = ctx;
	int fd = accept(machine->listener, NULL, NULL);

	if (fd < 0)
		return NULL; /* the listener was shut down: nobody came */
	take_request(machine, fd);
	if (machine->answer)
		send(fd, machine->answer, strlen(machine->answer), MSG_NOSIGNAL);
	close(fd);
	return NULL;
}

static void start(struct machine *machine, const char *answer)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	*machine = (struct machine){.answer = answer};
	strcpy(machine->folder, "/tmp/ctl_test.XXXXXX");
	assert_non_null(mkdtemp(machine->folder));
	snprintf(machine->path, sizeof(machine->path), "%s/socket", machine->folder);
	strcpy(address.sun_path, machine->path);
	machine->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(machine->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(machine->listener, 1), 0);
	assert_int_equal(pthread_create(&machine->thread, NULL, serve, machine), 0);
}

static void finish(struct machine *machine)
{
	shutdown(machine->listener, SHUT_RDWR);
	pthread_join(machine->thread, NULL);
	close(machine->listener);
	unlink(machine->path);
	rmdir(machine->folder);
}

/* --- the command --- */

/* @line: the words after SOCKET. Returns the exit status; what it prints goes to @out and @errors.
 */
static int ctl(const char *path, const char *line, FILE *out, FILE *errors)
{
	uint64_t room[COMMAND_OPTIONS_BYTES / 8] = {};
	int saved[] = {dup(STDOUT_FILENO), dup(STDERR_FILENO)};
	char text[512], *words[MAX_TEST_WORDS] = {(char *)path};
	int count = 1, status = EXIT_USAGE;
	const char *argument;
	bool help;

	snprintf(text, sizeof(text), "%s", line);
	for (char *word = strtok(text, " "); word; word = strtok(NULL, " "))
		words[count++] = word;
	fflush(stdout);
	dup2(fileno(out), STDOUT_FILENO);
	dup2(fileno(errors), STDERR_FILENO);
	if (!options_parse(command_find("ctl"), count, words, room, &argument, &help))
		status = command_ctl(room, argument);
	fflush(stdout);
	dup2(saved[0], STDOUT_FILENO);
	dup2(saved[1], STDERR_FILENO);
	close(saved[0]);
	close(saved[1]);
	return status;
}

static void read_back(FILE *file, char *text, size_t size)
{
	rewind(file);
	text[fread(text, 1, size - 1, file)] = 0;
	fclose(file);
}

struct run {
	int status;
	char out[4096], errors[4096], request[4096], file[64];
};

static void run_ctl(const char *line, const char *answer, struct run *run)
{
	FILE *out = tmpfile(), *errors = tmpfile();
	struct machine machine;

	start(&machine, answer);
	run->status = ctl(machine.path, line, out, errors);
	finish(&machine);
	read_back(out, run->out, sizeof(run->out));
	read_back(errors, run->errors, sizeof(run->errors));
	strcpy(run->request, machine.request);
	strcpy(run->file, machine.file);
}

#define OK(result) "{\"id\":1,\"ok\":true,\"result\":{" result "}}\n"

static void words_and_options_become_members(void **state)
{
	static const struct {
		const char *line, *request;
	} cases[] = {
		{"status", "'request':'status'"},
		{"shutdown", "'request':'shutdown'"},
		{"shutdown --reboot --force --reason because",
		 "'request':'shutdown','kind':'reboot','force':true,'reason':'because'"},
		{"shutdown --hibernate", "'request':'shutdown','kind':'hibernate'"},
		{"kvp-get OSName", "'request':'kvp-get','key':'OSName','pool':'auto'"},
		{"kvp-get --pool guest k", "'request':'kvp-get','key':'k','pool':'guest'"},
		{"kvp-set k v", "'request':'kvp-set','key':'k','value':'v','pool':'external'"},
		{"kvp-delete k", "'request':'kvp-delete','key':'k','pool':'external'"},
		{"kvp-ip 00:15", "'request':'kvp-ip','mac':'00:15'"},
		{"time-sync --step", "'request':'time-sync','step':true"},
		{"disk-add /a --read-only --lun 0 --format vhd",
		 "'request':'disk-add','path':'/a','lun':0,'format':'vhd','read_only':true"},
		{"disk-add --dvd", "'request':'disk-add','dvd':true"},
		{"disk-remove --bus ide --controller 1 --lun 1",
		 "'request':'disk-remove','bus':'ide','controller':1,'lun':1"},
		{"dvd-insert /i --lun 2", "'request':'dvd-insert','path':'/i','lun':2"},
	};
	struct run run;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char wanted[256];

		run_ctl(cases[i].line, OK(""), &run);
		snprintf(wanted, sizeof(wanted), "{'id':1,%s}\n", cases[i].request);
		for (char *at = wanted; *at; at++)
			*at = *at == '\'' ? '"' : *at;
		assert_string_equal(run.request, wanted);
		assert_int_equal(run.status, EXIT_OK);
		assert_string_equal(run.errors, "");
	}
}

static void a_file_is_named_by_its_whole_path(void **state)
{
	char folder[1024], wanted[1100];
	struct run run;

	assert_non_null(getcwd(folder, sizeof(folder)));
	snprintf(wanted, sizeof(wanted), "\"path\":\"%s/a.vhd\"", folder);
	run_ctl("disk-add a.vhd", OK(""), &run);
	assert_non_null(strstr(run.request, wanted));
}

static void results_are_for_people(void **state)
{
	static const struct {
		const char *line, *answer, *shown;
	} cases[] = {
		{"reset", OK(""), ""},
		{"status", OK("\"state\":\"running\",\"why\":\"\",\"uptime_ms\":7"),
		 "state: running\nuptime_ms: 7\n"},
		{"kvp-get k", OK("\"key\":\"k\",\"value\":\"a\\nb\\u001b[0m\\u009b \\u00e4\""),
		 "a\\x0ab\\x1b[0m\\x9b \u00e4\n"},
		{"kvp-list",
		 OK("\"pairs\":[{\"key\":\"a\",\"value\":\"1\"},{\"key\":\"b\",\"value\":\"\"}]"),
		 "a: 1\nb: \n"},
		{"kvp-list", OK("\"pairs\":[]"), ""},
		{"kvp-ip 00", OK("\"addresses\":[{\"kind\":\"ipv4\",\"value\":\"10.0.0.1\"}]"),
		 "ipv4: 10.0.0.1\n"},
		{"services",
		 OK("\"services\":[{\"name\":\"kvp\",\"open\":true,\"framework\":\"3.0\","
		    "\"message\":\"5.0\"},"
		    "{\"name\":\"vss\",\"open\":false}]"),
		 "kvp: connected, version 5.0, framework 3.0\nvss: not connected\n"},
		{"disks",
		 OK("\"drives\":[{\"bus\":\"scsi\",\"controller\":0,\"lun\":3,\"kind\":\"disk\","
		    "\"read_only\":true,\"path\":\"/"
		    "a\"},{\"bus\":\"ide\",\"controller\":1,\"lun\":0,"
		    "\"kind\":\"dvd\",\"read_only\":false,\"path\":null}]"),
		 "scsi 0:3 disk read-only /a\nide 1:0 dvd (empty)\n"},
		/* A machine that says something else is not believed, and does no harm. */
		{"disks", OK("\"drives\":7"), ""},
		{"kvp-list", OK("\"pairs\":[7,{}]"), "\n\n"},
		{"status", "{\"ok\":true}\n", ""},
	};
	struct run run;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		run_ctl(cases[i].line, cases[i].answer, &run);
		assert_string_equal(run.out, cases[i].shown);
		assert_int_equal(run.status, EXIT_OK);
	}
}

static void json_shows_the_answer_as_it_is(void **state)
{
	struct run run;

	run_ctl("--json kvp-get k", OK("\"value\":\"a\\n\""), &run);
	assert_non_null(strstr(run.out, "\"value\": \"a\\n\""));
	assert_int_equal(run.status, EXIT_OK);
	run_ctl("--json freeze", "{\"id\":1,\"ok\":false,\"error\":{\"code\":\"busy\"}}\n", &run);
	assert_non_null(strstr(run.out, "busy"));
	assert_string_equal(run.errors, "");
	assert_int_equal(run.status, EXIT_FAILED);
}

static void failures_are_one_line_and_a_status(void **state)
{
	static const struct {
		const char *line, *answer, *says;
		int status;
	} cases[] = {
		{"freeze",
		 "{\"id\":1,\"ok\":false,\"error\":{\"code\":\"not-connected\",\"message\":\"no\"}}"
		 "\n",
		 "freeze: no (not-connected)", EXIT_FAILED},
		{"disk-remove",
		 "{\"id\":1,\"ok\":false,\"error\":{\"code\":\"bad-request\",\"message\":\"'lun' "
		 "is "
		 "missing\"}}\n",
		 "'lun' is missing", EXIT_USAGE},
		{"status", "{\"id\":1", "ended before it answered", EXIT_FAILED},
		{"status", NULL, "ended before it answered", EXIT_FAILED},
		{"status", "hello\n", "is no machine", EXIT_FAILED},
		{"status", "{}\n", "status:  (?)", EXIT_FAILED},
		{"", "", "REQUEST is missing", EXIT_USAGE},
		{"statu", "", "unknown request", EXIT_USAGE},
		{"status now", "", "now: unexpected argument of 'status'", EXIT_USAGE},
		{"kvp-set k", "", "an argument is missing", EXIT_USAGE},
		{"status --reboot", "", "--reboot: 'status' does not take it", EXIT_USAGE},
		{"shutdown --reboot --hibernate", "", "cannot go with", EXIT_USAGE},
		{"kvp-get k --pool none", "", "is none of external", EXIT_USAGE},
		{"kvp-get \xff", "", "not UTF-8", EXIT_USAGE},
		{"copy-file /no/such/file /a", "", "No such file", EXIT_FAILED},
		{"copy-file /dev/null /a", "", "not a regular file", EXIT_FAILED},
	};
	struct run run;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		run_ctl(cases[i].line, cases[i].answer, &run);
		if (run.status != cases[i].status || !strstr(run.errors, cases[i].says) ||
		    strchr(run.errors, '\n') != run.errors + strlen(run.errors) - 1)
			fail_msg("\"%s\": %d, \"%s\"", cases[i].line, run.status, run.errors);
		assert_string_equal(run.out, "");
	}
}

static void a_copied_file_goes_along_open(void **state)
{
	char path[] = "/tmp/ctl_test_file.XXXXXX", line[64];
	int fd = mkstemp(path);
	struct run run;

	assert_int_equal(write(fd, "contents", 8), 8);
	close(fd);
	snprintf(line, sizeof(line), "copy-file %s /root/a --overwrite", path);
	run_ctl(line, OK("\"bytes\":8"), &run);
	unlink(path);
	assert_string_equal(run.request, "{\"id\":1,\"request\":\"copy-file\",\"path\":\"/root/a\","
					 "\"overwrite\":true}\n");
	assert_string_equal(run.file, "contents");
	assert_string_equal(run.out, "8 bytes copied\n");
}

static void no_machine_at_the_path_is_said(void **state)
{
	static const struct {
		const char *path, *says;
	} cases[] = {
		{"/no/such/socket", "No such file"},
		{"/dev/null", "no socket"},
		{"/012345678901234567890123456789012345678901234567890123456789012345678901234567"
		 "890123456789012345678901234567890123456789",
		 "at most 107 bytes"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		FILE *out = tmpfile(), *errors = tmpfile();
		char text[512];

		assert_int_equal(ctl(cases[i].path, "status", out, errors), EXIT_FAILED);
		fclose(out);
		read_back(errors, text, sizeof(text));
		assert_non_null(strstr(text, cases[i].says));
	}
}

static void every_request_in_the_help_is_known(void **state)
{
	const struct word_row *row = command_find("ctl")->words;
	size_t count = 0;
	struct run run;

	for (; row->name; row++, count++) {
		run_ctl(row->name, OK(""), &run);
		assert_null(strstr(run.errors, "unknown request"));
	}
	assert_true(count > 20);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_and_options_become_members),
		cmocka_unit_test(a_file_is_named_by_its_whole_path),
		cmocka_unit_test(results_are_for_people),
		cmocka_unit_test(json_shows_the_answer_as_it_is),
		cmocka_unit_test(failures_are_one_line_and_a_status),
		cmocka_unit_test(a_copied_file_goes_along_open),
		cmocka_unit_test(no_machine_at_the_path_is_said),
		cmocka_unit_test(every_request_in_the_help_is_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
