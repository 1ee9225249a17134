/*
 * call.c - from a line to a call by the table of requests, and to its answer
 *
 * A call that must wait stands in the control socket's list until call_finish(). Whoever it is for
 * may go away meanwhile: first the client, then the control socket itself; the call stays, since
 * the callback that ends it has its address, and its answer is dropped.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control_internal.h"

static const struct error_row {
	int error;
	const char *code;
	const char *text; /* when nobody said it better */
} error_table[] = {{-ENOTCONN, "not-connected", "the guest does not offer this service now"},
		   {-ETIMEDOUT, "timed-out", "the guest did not answer in time"},
		   {-EBUSY, "busy", "another request of this kind is waiting for its end"},
		   {-EREMOTEIO, "refused", "the guest refused"},
		   {-EPROTO, "bad-answer", "the guest's answer makes no sense"},
		   {-ENOTSUP, "not-supported", "this machine or its guest cannot do that"},
		   {-ECANCELED, "cancelled", "the request was cancelled"},
		   {-EALREADY, "not-frozen", "the guest is not frozen, or not any more"},
		   {-ENOENT, "not-found", "there is no such thing"},
		   {-EEXIST, "exists", "the place is taken"},
		   {-EINVAL, "invalid", "a value makes no sense"},
		   {-EILSEQ, "invalid", "a text is not UTF-8"},
		   {-ENAMETOOLONG, "too-large", "a name is too long"},
		   {-E2BIG, "too-large", "the answer, or a value, is too large"},
		   {-EACCES, "no-permission", "the file may not be used"},
		   {-EPERM, "no-permission", "the file may not be used"},
		   {-EROFS, "no-permission", "the file system is read-only"},
		   {-EAGAIN, "locked", "the image is in use elsewhere"},
		   {-EBADMSG, "damaged", "the image is damaged"},
		   {-ESTALE, "damaged", "a parent of the image was changed"},
		   {}};

static const struct error_row *find_error(int error)
{
	const struct error_row *row = error_table;

	while (row->error && row->error != error)
		row++;
	return row;
}

/* --- answers --- */

json_t *json_text(const char *text)
{
	json_t *json = json_string(text);
	char *copy;

	if (json)
		return json;
	copy = strdup(text);
	for (char *at = copy; copy && *at; at++) {
		if (*at & 0x80)
			*at = '?';
	}
	json = copy ? json_string(copy) : NULL;
	free(copy);
	return json;
}

/* Returns 0; -E2BIG; -ENOMEM. Takes @answer. */
static int write_answer(struct client *client, json_t *answer)
{
	char *line = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
	size_t length = line ? strlen(line) : 0;
	int r = line ? 0 : -ENOMEM;

	if (length >= MAX_ANSWER_BYTES)
		r = -E2BIG;
	if (!r)
		client_write(client, line, length);
	free(line);
	json_decref(answer);
	return r;
}

static int write_error(struct client *client, json_t *id, const char *code, const char *text)
{
	return write_answer(client, json_pack("{s:O?, s:b, s:{s:s, s:o}}", "id", id, "ok", 0,
					      "error", "code", code, "message", json_text(text)));
}

static int write_result(struct client *client, json_t *id, json_t *result)
{
	return write_answer(client, json_pack("{s:O?, s:b, s:o}", "id", id, "ok", 1, "result",
					      result ? json_incref(result) : json_object()));
}

/* The answer was too long because of what it says, or because of its id. */
static void write_last_resort(struct client *client, json_t *id, int error)
{
	const struct error_row *row = find_error(error);

	if (error == -ENOMEM || (write_error(client, id, row->code, row->text) < 0 &&
				 write_error(client, NULL, row->code, row->text) < 0))
		client->broken = true;
}

void call_refuse(struct client *client, const char *code, const char *text)
{
	if (write_error(client, NULL, code, text) < 0)
		client->broken = true;
}

/* --- calls --- */

static void call_free(struct call *call)
{
	if (call->fd >= 0)
		close(call->fd);
	json_decref(call->result);
	json_decref(call->request);
	free(call);
}

static void unlink_call(struct call *call)
{
	struct call **link;

	if (!call->control)
		return;
	for (link = &call->control->calls; *link != call; link = &(*link)->next)
		;
	*link = call->next;
}

/* @code: NULL: by the result */
static void answer(struct call *call, int result, const char *code, const char *text)
{
	const struct error_row *row = find_error(result);
	int r;

	if (!call->client)
		return;
	if (!result)
		r = write_result(call->client, call->id, call->result);
	else if (code || row->error)
		r = write_error(call->client, call->id, code ?: row->code,
				*text ? text : row->text);
	else
		r = write_error(call->client, call->id, "failed", *text ? text : strerror(-result));
	if (r < 0)
		write_last_resort(call->client, call->id, r);
	call->client->call_count--;
}

static void finish(struct call *call, int result, const char *code, const char *text)
{
	struct client *client = call->client;

	answer(call, result, code, text);
	unlink_call(call);
	call_free(call);
	if (client)
		client_serve(client);
}

void call_finish(struct call *call, int result, const char *text)
{
	finish(call, result, NULL, text ?: "");
}

void calls_forget(struct control *control, struct client *client)
{
	struct call *next;

	for (struct call *call = control->calls; call; call = next) {
		next = call->next;
		if (!call->client || (client && call->client != client))
			continue;
		call->client = NULL;
		if (call->row->abandoned)
			call->row->abandoned(call);
	}
	if (client)
		return;
	for (struct call *call = control->calls; call; call = call->next)
		call->control = NULL;
	control->calls = NULL;
}

/* --- members --- */

static int set_text(const struct member *member, json_t *value, void *target)
{
	const char *text = json_string_value(value);

	if (!text || (member->type == MEMBER_PATH && *text != '/'))
		return -EINVAL;
	*(const char **)target = text;
	return 0;
}

static int set_flag(const struct member *member, json_t *value, void *target)
{
	if (!json_is_boolean(value))
		return -EINVAL;
	*(bool *)target = json_is_true(value);
	return 0;
}

static int set_number(const struct member *member, json_t *value, void *target)
{
	json_int_t number = json_integer_value(value);

	if (!json_is_integer(value) || number < 0 || (uint64_t)number > member->max)
		return -EINVAL;
	*(uint64_t *)target = number;
	return 0;
}

static int set_choice(const struct member *member, json_t *value, void *target)
{
	const char *text = json_string_value(value);

	for (unsigned int i = 0; text && member->words[i]; i++) {
		if (!strcmp(text, member->words[i])) {
			*(unsigned int *)target = i;
			return 0;
		}
	}
	return -EINVAL;
}

static int (*const setters[])(const struct member *member, json_t *value, void *target) = {
	[MEMBER_TEXT] = set_text,     [MEMBER_PATH] = set_text,	    [MEMBER_FLAG] = set_flag,
	[MEMBER_NUMBER] = set_number, [MEMBER_CHOICE] = set_choice,
};

static void describe_member(const struct member *member, char *text, size_t size)
{
	size_t used;

	switch (member->type) {
	case MEMBER_TEXT: snprintf(text, size, "a string"); break;
	case MEMBER_PATH: snprintf(text, size, "an absolute path, which begins with /"); break;
	case MEMBER_FLAG: snprintf(text, size, "true or false"); break;
	case MEMBER_NUMBER:
		snprintf(text, size, "a whole number from 0 to %" PRIu64, member->max);
		break;
	case MEMBER_CHOICE:
		used = snprintf(text, size, "one of");
		for (const char *const *word = member->words; *word && used < size; word++)
			used += snprintf(text + used, size - used, "%s %s",
					 word == member->words ? "" : ",", *word);
		break;
	}
}

static int bad_member(struct call *call, const struct member *member, json_t *value)
{
	char *given = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
	char wanted[128];

	describe_member(member, wanted, sizeof(wanted));
	snprintf(call->text, sizeof(call->text), "'%s' must be %s, not %.200s", member->name,
		 wanted, given ?: "this");
	free(given);
	return -EINVAL;
}

static int set_member(struct call *call, const struct member *member)
{
	char *arguments = (char *)&call->arguments;
	json_t *value = json_object_get(call->request, member->name);

	if (!value && !member->required)
		return 0;
	if (!value) {
		snprintf(call->text, sizeof(call->text), "'%s' is missing", member->name);
		return -EINVAL;
	}
	if (setters[member->type](member, value, arguments + member->offset) < 0)
		return bad_member(call, member, value);
	if (member->given_offset)
		*(bool *)(arguments + member->given_offset) = true;
	return 0;
}

static bool is_known(const struct request *row, const char *name)
{
	if (!strcmp(name, "id") || !strcmp(name, "request"))
		return true;
	for (const struct member *member = row->members; member && member->name; member++) {
		if (!strcmp(member->name, name))
			return true;
	}
	return false;
}

static int set_members(struct call *call)
{
	const char *name;
	json_t *value;
	int r = 0;

	json_object_foreach(call->request, name, value)
	{
		if (is_known(call->row, name))
			continue;
		snprintf(call->text, sizeof(call->text), "'%.64s' is no member of '%s'", name,
			 call->row->name);
		return -EINVAL;
	}
	for (const struct member *member = call->row->members; !r && member && member->name;
	     member++)
		r = set_member(call, member);
	return r;
}

/* --- a line --- */

static const struct request *find_request(const char *name)
{
	for (const struct request *row = request_table; name && row->name; row++) {
		if (!strcmp(row->name, name))
			return row;
	}
	return NULL;
}

/* Returns NULL, or the code of what is wrong with the line, with ->text. */
static const char *parse_line(struct call *call, const char *line, size_t length)
{
	json_error_t error;

	call->request = json_loadb(line, length, JSON_REJECT_DUPLICATES, &error);
	if (!call->request) {
		snprintf(call->text, sizeof(call->text), "byte %d: %s", error.position, error.text);
		return "bad-json";
	}
	if (!json_is_object(call->request)) {
		snprintf(call->text, sizeof(call->text), "a request is a JSON object");
		return "bad-request";
	}
	call->id = json_object_get(call->request, "id");
	call->row = find_request(json_string_value(json_object_get(call->request, "request")));
	if (!call->row) {
		snprintf(call->text, sizeof(call->text), "'request' names no known request");
		return "unknown-request";
	}
	return set_members(call) < 0 ? "bad-request" : NULL;
}

static const char *take_fd(struct call *call)
{
	if (!call->row->takes_fd)
		return NULL;
	call->fd = call->client->passed_fd;
	call->client->passed_fd = -1;
	if (call->fd >= 0)
		return NULL;
	snprintf(call->text, sizeof(call->text),
		 "'%s' needs a regular file's descriptor sent along", call->row->name);
	return "bad-request";
}

static int start(struct call *call)
{
	call->ic = vm_ic(call->control->vm);
	if (call->row->asks_guest && !call->ic) {
		snprintf(call->text, sizeof(call->text),
			 "the machine has no integration services now");
		return -ENOTCONN;
	}
	return call->row->start(call);
}

void call_begin(struct client *client, const char *line, size_t length)
{
	struct call *call = calloc(1, sizeof(*call));
	const char *wrong;
	int r;

	if (!call) {
		client->broken = true;
		return;
	}
	*call = (struct call){.control = client->control, .client = client, .fd = -1};
	call->next = client->control->calls;
	client->control->calls = call;
	client->call_count++;
	wrong = parse_line(call, line, length);
	if (!wrong)
		wrong = take_fd(call);
	if (wrong) {
		finish(call, -EINVAL, wrong, call->text);
		return;
	}
	r = start(call);
	if (r != CALL_WAITS)
		call_finish(call, r, call->text);
}
