/*
 * ctl.c - `mullion ctl`: one request to a machine's control socket, its answer for a person to read
 *
 * A row of the table says which members of the request the words are, which options it takes, and
 * how its result is shown. Options have the names of the members that they set, but for those that
 * choose a word. What the guest says is shown without what a terminal would act on; --json shows
 * all of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "command.h"
#include "log.h"
#include "run_options.h"

#define MAX_WORDS	 2
#define MAX_ANSWER_BYTES (16 * MIB) /* more is no answer of a machine's */

struct ctl_request {
	const char *name;
	const char *members[MAX_WORDS + 1]; /* that the words are; "<" a file to send along */
	size_t least;			    /* so many words are needed */
	const char *options;		    /* that it takes, with blanks around each */
	const char *pool;		    /* when none is given */
	void (*print)(json_t *result);
};

struct ctl {
	const struct ctl_options *options;
	const struct ctl_request *row;
	const char *socket_path;
	json_t *request, *answer;
	int file_fd, socket_fd;
};

/* --- results --- */

/* Bytes that a terminal acts on are shown as \xNN; UTF-8 is kept. */
static void print_text(const char *text)
{
	const uint8_t *at = (const uint8_t *)text;

	for (; *at; at++) {
		bool c1 = at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0;

		if (*at < 0x20 || *at == 0x7f || c1)
			printf("\\x%02x", c1 ? *++at : *at);
		else
			putchar(*at);
	}
}

static void print_value(json_t *value)
{
	if (json_is_string(value))
		print_text(json_string_value(value));
	else if (json_is_integer(value))
		printf("%lld", (long long)json_integer_value(value));
	else if (json_is_boolean(value))
		printf("%s", json_is_true(value) ? "yes" : "no");
	else
		printf("-");
}

/* "name: value" lines, without those that say nothing. */
static void print_members(json_t *result)
{
	const char *name;
	json_t *value;

	json_object_foreach(result, name, value)
	{
		if (json_is_string(value) && !json_string_length(value))
			continue;
		print_text(name);
		printf(": ");
		print_value(value);
		printf("\n");
	}
}

/* Each object of the first array in @result: a line of its values, @between the first two. */
static void print_rows(json_t *result, const char *between)
{
	json_t *list = json_object_iter_value(json_object_iter(result)), *row, *value;
	const char *name;
	size_t i;

	json_array_foreach(list, i, row)
	{
		const char *before = "";

		json_object_foreach(row, name, value)
		{
			printf("%s", before);
			print_value(value);
			before = *before ? " " : between;
		}
		printf("\n");
	}
}

static void print_pairs(json_t *result)
{
	print_rows(result, ": ");
}

static void print_kvp(json_t *result)
{
	print_value(json_object_get(result, "value"));
	printf("\n");
}

static void print_services(json_t *result)
{
	json_t *row;
	size_t i;

	json_array_foreach(json_object_get(result, "services"), i, row)
	{
		print_value(json_object_get(row, "name"));
		if (!json_is_true(json_object_get(row, "open"))) {
			printf(": not connected\n");
			continue;
		}
		printf(": connected, version ");
		print_value(json_object_get(row, "message"));
		printf(", framework ");
		print_value(json_object_get(row, "framework"));
		printf("\n");
	}
}

static void print_drive(json_t *drive)
{
	json_t *path = json_object_get(drive, "path");

	print_value(json_object_get(drive, "bus"));
	printf(" %lld:%lld ", json_integer_value(json_object_get(drive, "controller")),
	       json_integer_value(json_object_get(drive, "lun")));
	print_value(json_object_get(drive, "kind"));
	printf("%s ", json_is_true(json_object_get(drive, "read_only")) ? " read-only" : "");
	if (json_is_string(path))
		print_value(path);
	else
		printf("(empty)");
	printf("\n");
}

static void print_drives(json_t *result)
{
	json_t *drive;
	size_t i;

	json_array_foreach(json_object_get(result, "drives"), i, drive) print_drive(drive);
}

static void print_copied(json_t *result)
{
	print_value(json_object_get(result, "bytes"));
	printf(" bytes copied\n");
}

/* --- the table; commands.c has the same names, with help --- */

#define PLACE " bus controller lun "

static const struct ctl_request ctl_requests[] = {
	{"status", .print = print_members},
	{"heartbeat", .print = print_members},
	{"services", .print = print_services},
	{"shutdown", .options = " reboot hibernate force reason "},
	{"power-button"},
	{"reset"},
	{"stop"},
	{"kvp-get", {"key"}, 1, " pool ", "auto", print_kvp},
	{"kvp-list", .options = " pool ", .pool = "auto", .print = print_pairs},
	{"kvp-set", {"key", "value"}, 2, " pool ", "external"},
	{"kvp-delete", {"key"}, 1, " pool ", "external"},
	{"kvp-ip", {"mac"}, 1, .print = print_pairs},
	{"copy-file", {"<", "path"}, 2, " overwrite create-directories ", .print = print_copied},
	{"freeze"},
	{"keep-frozen"},
	{"thaw"},
	{"time-sync", .options = " step "},
	{"disks", .print = print_drives},
	{"disk-add", {"file"}, 0, PLACE "dvd read-only format ", .print = print_drive},
	{"disk-remove", .options = PLACE},
	{"dvd-insert", {"file"}, 1, PLACE},
	{"dvd-eject", .options = PLACE},
	{}};

/* --- the request --- */

/* In JSON the file is a path that means the same to the machine's process. */
static int set_file(struct ctl *ctl, const char *word)
{
	char folder[PATH_MAX], path[2 * PATH_MAX];

	if (*word == '/' || !getcwd(folder, sizeof(folder)))
		snprintf(path, sizeof(path), "%s", word);
	else
		snprintf(path, sizeof(path), "%s/%s", folder, word);
	return json_object_set_new(ctl->request, "path", json_string(path));
}

static int open_file(struct ctl *ctl, const char *word)
{
	struct stat status;

	ctl->file_fd = open(word, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (ctl->file_fd < 0 || fstat(ctl->file_fd, &status) < 0) {
		log_error("%s: %s", word, strerror(errno));
		return EXIT_FAILED;
	}
	if (!S_ISREG(status.st_mode)) {
		log_error("%s: is not a regular file", word);
		return EXIT_FAILED;
	}
	return EXIT_OK;
}

static int set_word(struct ctl *ctl, const char *member, const char *word)
{
	int r;

	if (!strcmp(member, "<"))
		return open_file(ctl, word);
	r = !strcmp(member, "file") ? set_file(ctl, word)
				    : json_object_set_new(ctl->request, member, json_string(word));
	if (r < 0) {
		log_error("%s: is not UTF-8", word);
		return EXIT_USAGE;
	}
	return EXIT_OK;
}

static int set_words(struct ctl *ctl)
{
	const struct option_files *words = &ctl->options->words;
	size_t i, count = words->count - 1;
	int status = EXIT_OK;

	for (i = 0; i < count && ctl->row->members[i] && status == EXIT_OK; i++)
		status = set_word(ctl, ctl->row->members[i], words->items[i + 1]);
	if (status == EXIT_OK && i < count) {
		log_error("%s: unexpected argument of '%s'", words->items[i + 1], ctl->row->name);
		return EXIT_USAGE;
	}
	if (status == EXIT_OK && count < ctl->row->least) {
		log_error("%s: an argument is missing; 'mullion ctl --help' lists them",
			  ctl->row->name);
		return EXIT_USAGE;
	}
	return status;
}

/* What the option was given, as JSON; NULL: it was not given. */
static json_t *option_value(const struct option_row *option, const void *at)
{
	const struct option_number *number = at;

	switch (option->type) {
	case OPTION_FLAG: return *(const bool *)at ? json_true() : NULL;
	case OPTION_NUMBER: return number->given ? json_integer(number->value) : NULL;
	default: return *(char *const *)at ? json_string(*(char *const *)at) : NULL;
	}
}

static bool takes_option(const struct ctl_request *row, const char *name)
{
	char wanted[32];

	snprintf(wanted, sizeof(wanted), " %s ", name);
	return row->options && strstr(row->options, wanted);
}

/* --reboot and --hibernate are the two words of a member. */
static void set_member(json_t *request, const char *name, json_t *value)
{
	char member[32];

	if (!strcmp(name, "reboot") || !strcmp(name, "hibernate")) {
		json_decref(value);
		json_object_set_new(request, "kind", json_string(name));
		return;
	}
	snprintf(member, sizeof(member), "%s", name);
	for (char *at = member; *at; at++)
		*at = *at == '-' ? '_' : *at;
	json_object_set_new(request, member, value);
}

static int set_option(struct ctl *ctl, const struct option_row *option)
{
	json_t *value = option_value(option, (const char *)ctl->options + option->offset);

	if (!value || !strcmp(option->name, "json")) {
		json_decref(value);
		return EXIT_OK;
	}
	if (!takes_option(ctl->row, option->name)) {
		log_error("--%s: '%s' does not take it", option->name, ctl->row->name);
		json_decref(value);
		return EXIT_USAGE;
	}
	set_member(ctl->request, option->name, value);
	return EXIT_OK;
}

static int set_options(struct ctl *ctl)
{
	int status = EXIT_OK;

	if (ctl->options->reboot && ctl->options->hibernate) {
		log_error("--hibernate: cannot go with --reboot");
		return EXIT_USAGE;
	}
	if (ctl->row->pool)
		json_object_set_new(ctl->request, "pool", json_string(ctl->row->pool));
	for (const struct option_row *option = ctl_options; option->name && status == EXIT_OK;
	     option++)
		status = set_option(ctl, option);
	return status;
}

static int find_request(struct ctl *ctl)
{
	const char *name = ctl->options->words.count ? ctl->options->words.items[0] : NULL;

	if (!name) {
		log_error("ctl: REQUEST is missing; 'mullion ctl --help' lists them");
		return EXIT_USAGE;
	}
	for (ctl->row = ctl_requests; ctl->row->name; ctl->row++) {
		if (!strcmp(ctl->row->name, name))
			return EXIT_OK;
	}
	log_error("%s: unknown request; 'mullion ctl --help' lists them", name);
	return EXIT_USAGE;
}

static int make_request(struct ctl *ctl)
{
	int status = find_request(ctl);

	if (status != EXIT_OK)
		return status;
	ctl->request = json_pack("{s:i, s:s}", "id", 1, "request", ctl->row->name);
	status = set_words(ctl);
	return status == EXIT_OK ? set_options(ctl) : status;
}

/* --- the socket --- */

/* The kernel refuses a path that is no socket as it does a socket without a listener. */
static const char *connect_error_text(const char *path, int error)
{
	struct stat status;

	if (error != ECONNREFUSED)
		return strerror(error);
	if (stat(path, &status) == 0 && !S_ISSOCK(status.st_mode))
		return "no socket; a machine's is what run --control named";
	return "no machine listens there any more";
}

static int connect_to(struct ctl *ctl)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(ctl->socket_path) >= sizeof(address.sun_path)) {
		log_error("%s: the path of a socket has at most %zu bytes", ctl->socket_path,
			  sizeof(address.sun_path) - 1);
		return EXIT_FAILED;
	}
	strcpy(address.sun_path, ctl->socket_path);
	ctl->socket_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (ctl->socket_fd >= 0 &&
	    !connect(ctl->socket_fd, (const struct sockaddr *)&address, sizeof(address)))
		return EXIT_OK;
	log_error("%s: %s", ctl->socket_path, connect_error_text(ctl->socket_path, errno));
	return EXIT_FAILED;
}

/* The file goes along with the first bytes. Returns what sendmsg() does. */
static ssize_t send_some(struct ctl *ctl, const char *bytes, size_t count, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr header;
	} control = {.header = {.cmsg_level = SOL_SOCKET,
				.cmsg_type = SCM_RIGHTS,
				.cmsg_len = CMSG_LEN(sizeof(int))}};
	struct iovec iov = {(char *)bytes, count};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
	}
	return sendmsg(ctl->socket_fd, &message, MSG_NOSIGNAL);
}

static int send_request(struct ctl *ctl)
{
	char *line = json_dumps(ctl->request, JSON_COMPACT);
	size_t length = line ? strlen(line) : 0, sent = 0;
	ssize_t n = line ? 0 : -1;

	if (line)
		line[length++] = '\n'; /* instead of its NUL */
	while (n >= 0 && sent < length) {
		n = send_some(ctl, line + sent, length - sent, sent ? -1 : ctl->file_fd);
		if (n < 0 && errno == EINTR)
			n = 0;
		sent += MAX(n, 0);
	}
	free(line);
	return n < 0 ? -EIO : 0;
}

/* One line, however long it takes. Returns NULL at the end of the connection. */
static char *receive_line(struct ctl *ctl)
{
	char *line = NULL;
	size_t length = 0, size = 0;
	ssize_t n = 1;

	while (n > 0 && (!length || line[length - 1] != '\n') && length < MAX_ANSWER_BYTES) {
		if (length == size) {
			char *larger = realloc(line, size ? 2 * size : 4096);

			if (!larger)
				break;
			line = larger;
			size = size ? 2 * size : 4096;
		}
		n = recv(ctl->socket_fd, line + length, size - length, 0);
		if (n < 0 && errno == EINTR)
			n = 1;
		else
			length += MAX(n, 0);
	}
	if (!length || line[length - 1] != '\n') {
		free(line);
		return NULL;
	}
	line[length - 1] = 0;
	return line;
}

/* A machine that turns a connection away answers unasked, and then cannot be written to. */
static int exchange(struct ctl *ctl)
{
	int r = send_request(ctl);
	char *line = receive_line(ctl);

	ctl->answer = line ? json_loads(line, 0, NULL) : NULL;
	if (!line)
		log_error("%s: the machine %s", ctl->socket_path,
			  r < 0 ? "does not listen" : "ended before it answered");
	else if (!ctl->answer)
		log_error("%s: what listens there is no machine", ctl->socket_path);
	free(line);
	return ctl->answer ? EXIT_OK : EXIT_FAILED;
}

/* --- the answer --- */

static bool is_usage(const char *code)
{
	return !strcmp(code, "bad-request") || !strcmp(code, "unknown-request");
}

static int show_answer(struct ctl *ctl)
{
	json_t *error = json_object_get(ctl->answer, "error");
	const char *code = json_string_value(json_object_get(error, "code")) ?: "?";
	const char *message = json_string_value(json_object_get(error, "message")) ?: "";
	bool ok = json_is_true(json_object_get(ctl->answer, "ok"));

	if (ctl->options->json) {
		json_dumpf(ctl->answer, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
		printf("\n");
	} else if (!ok) {
		log_error("%s: %s (%s)", ctl->row->name, message, code);
	} else if (ctl->row->print) {
		ctl->row->print(json_object_get(ctl->answer, "result"));
	}
	if (ok)
		return EXIT_OK;
	return is_usage(code) ? EXIT_USAGE : EXIT_FAILED;
}

int command_ctl(const void *options, const char *argument)
{
	struct ctl ctl = {
		.options = options, .socket_path = argument, .file_fd = -1, .socket_fd = -1};
	int status = make_request(&ctl);

	if (status == EXIT_OK)
		status = connect_to(&ctl);
	if (status == EXIT_OK)
		status = exchange(&ctl);
	if (status == EXIT_OK)
		status = show_answer(&ctl);
	if (ctl.file_fd >= 0)
		close(ctl.file_fd);
	if (ctl.socket_fd >= 0)
		close(ctl.socket_fd);
	json_decref(ctl.request);
	json_decref(ctl.answer);
	return status;
}
