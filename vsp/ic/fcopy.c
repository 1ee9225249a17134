/*
 * fcopy.c - copy a file from the host into the guest
 *
 *   IDLE -> STARTING		ic_copy_file()
 *   STARTING -> WRITING		one request for each 6 KiB
 *   WRITING -> COMPLETING -> IDLE	done
 *   any of these -> CANCELLING	something failed, or ic_cancel_copy(): the guest deletes the file
 *   CANCELLING -> IDLE		done, with what failed
 *
 * A start that the guest refuses needs no cancelling.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ic_internal.h"
#include "utf16.h"

struct fcopy {
	enum {
		FCOPY_IDLE,
		FCOPY_STARTING,
		FCOPY_WRITING,
		FCOPY_COMPLETING,
		FCOPY_CANCELLING
	} phase;
	struct ic_call call;
	void (*progress)(void *ctx, uint64_t bytes);
	int fd;
	uint64_t size, offset;
	uint32_t piece; /* bytes of the write that is out */
	bool cancelled;
	int result;
	char text[IC_TEXT_BYTES];
};

/* --- requests --- */

static int fcopy_request_end(struct ic_provider *provider, uint32_t operation,
			     ic_answered *answered)
{
	struct ic_fcopy_header *body;
	int r = ic_provider_free_for_call(provider);

	if (r)
		return r;
	body = ic_provider_body(provider, sizeof(*body));
	body->operation = operation;
	return ic_provider_request(provider, IC_ANSWER_TIMEOUT_NS, answered);
}

/* Returns 0; -errno of read(2); -ENODATA: the file has become shorter. */
static int read_fully(int fd, uint8_t *to, size_t bytes)
{
	while (bytes) {
		ssize_t got = read(fd, to, bytes);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got ? -errno : -ENODATA;
		to += got;
		bytes -= (size_t)got;
	}
	return 0;
}

static int fcopy_request_write(struct ic_provider *provider, ic_answered *answered)
{
	struct fcopy *fcopy = provider->state;
	struct ic_fcopy_write_body *body;
	int r = ic_provider_free_for_call(provider);

	if (r)
		return r;
	/* Always the whole structure: Linux passes all of it on. */
	body = ic_provider_body(provider, sizeof(*body));
	fcopy->piece = (uint32_t)MIN(fcopy->size - fcopy->offset, IC_FCOPY_DATA_BYTES);
	body->header.operation = IC_FCOPY_WRITE;
	body->offset = fcopy->offset;
	body->bytes = fcopy->piece;
	r = read_fully(fcopy->fd, body->data, fcopy->piece);
	return r ? r : ic_provider_request(provider, IC_ANSWER_TIMEOUT_NS, answered);
}

/* --- steps --- */

static void fcopy_finish(struct fcopy *fcopy)
{
	char text[IC_TEXT_BYTES];

	fcopy->phase = FCOPY_IDLE;
	snprintf(text, sizeof(text), "%s", fcopy->text);
	ic_call_finish(&fcopy->call, fcopy->result, text);
}

static void fcopy_cancel_answered(struct ic_provider *provider, int result,
				  const struct ic_answer *answer)
{
	fcopy_finish(provider->state);
}

/* The copy has failed with fcopy->result. */
static void fcopy_fail(struct ic_provider *provider)
{
	struct fcopy *fcopy = provider->state;

	fcopy->phase = FCOPY_CANCELLING;
	if (fcopy_request_end(provider, IC_FCOPY_CANCEL, fcopy_cancel_answered))
		fcopy_finish(fcopy);
}

static void fcopy_complete_answered(struct ic_provider *provider, int result,
				    const struct ic_answer *answer)
{
	struct fcopy *fcopy = provider->state;

	fcopy->result = ic_judge(result, answer, "the end of the file", fcopy->text);
	if (fcopy->result)
		fcopy_fail(provider);
	else
		fcopy_finish(fcopy);
}

static void fcopy_write_answered(struct ic_provider *provider, int result,
				 const struct ic_answer *answer);

/* What comes next in WRITING. */
static void fcopy_next(struct ic_provider *provider)
{
	struct fcopy *fcopy = provider->state;
	int r;

	fcopy->text[0] = 0;
	if (fcopy->cancelled) {
		r = -ECANCELED;
		snprintf(fcopy->text, sizeof(fcopy->text), "The copy was cancelled.");
	} else if (fcopy->offset < fcopy->size) {
		r = fcopy_request_write(provider, fcopy_write_answered);
		if (r)
			snprintf(fcopy->text, sizeof(fcopy->text), "A piece could not be sent: %s.",
				 strerror(-r));
	} else {
		fcopy->phase = FCOPY_COMPLETING;
		r = fcopy_request_end(provider, IC_FCOPY_COMPLETE, fcopy_complete_answered);
	}
	fcopy->result = r;
	if (r)
		fcopy_fail(provider);
}

static void fcopy_write_answered(struct ic_provider *provider, int result,
				 const struct ic_answer *answer)
{
	struct fcopy *fcopy = provider->state;

	fcopy->result = ic_judge(result, answer, "a piece of the file", fcopy->text);
	if (fcopy->result) {
		fcopy_fail(provider);
		return;
	}
	fcopy->offset += fcopy->piece;
	if (fcopy->progress)
		fcopy->progress(fcopy->call.ctx, fcopy->offset);
	fcopy_next(provider);
}

/* Linux says only "failed" when its daemon does not run, and when the folder is not there. */
static void fcopy_start_answered(struct ic_provider *provider, int result,
				 const struct ic_answer *answer)
{
	struct fcopy *fcopy = provider->state;

	fcopy->result = ic_judge(result, answer, "the file", fcopy->text);
	if (!fcopy->result) {
		fcopy->phase = FCOPY_WRITING;
		fcopy_next(provider);
	} else if (result) {
		fcopy_fail(provider);
	} else {
		if (answer->status == IC_STATUS_FAIL)
			snprintf(
				fcopy->text, sizeof(fcopy->text),
				"The guest refused the file (code 0x%08x): no daemon runs, no such "
				"folder, or it cannot be written.",
				answer->status);
		if (answer->status == IC_STATUS_DEVICE_NOT_CONNECTED)
			fcopy->result = -ENOTCONN;
		fcopy_finish(fcopy);
	}
}

/* --- calls --- */

/*
 * The folder keeps its last slash: Linux' daemon creates what stands before one. It has 260 bytes
 * for either part, in UTF-8.
 */
static int put_path(const char *path, struct ic_fcopy_start_body *body)
{
	const char *name = strrchr(path, '/');
	char folder[IC_FCOPY_PATH_UNITS];
	int r;

	if (path[0] != '/' || !name || !name[1])
		return -EINVAL;
	name++;
	if (name - path >= IC_FCOPY_PATH_UNITS || strlen(name) >= IC_FCOPY_PATH_UNITS)
		return -ENAMETOOLONG;
	memcpy(folder, path, (size_t)(name - path));
	folder[name - path] = 0;
	r = utf16_from_utf8(folder, body->path_name, IC_FCOPY_PATH_UNITS);
	if (r >= 0)
		r = utf16_from_utf8(name, body->file_name, IC_FCOPY_PATH_UNITS);
	return MIN(r, 0);
}

/* Bytes from the position of @fd to the end. */
static int bytes_left(int fd, uint64_t *ret_bytes)
{
	struct stat status;
	off_t position;

	if (fstat(fd, &status) < 0)
		return -errno;
	if (!S_ISREG(status.st_mode))
		return -EINVAL;
	position = lseek(fd, 0, SEEK_CUR);
	if (position < 0)
		return -errno;
	*ret_bytes = status.st_size > position ? (uint64_t)(status.st_size - position) : 0;
	return 0;
}

static int fcopy_request_start(struct ic_provider *provider, const struct ic_copy *copy,
			       uint64_t size)
{
	struct ic_fcopy_start_body *body = ic_provider_body(provider, sizeof(*body));
	int r = put_path(copy->guest_path, body);

	if (r)
		return r;
	body->header.operation = IC_FCOPY_START;
	body->flags = (copy->overwrite ? IC_FCOPY_OVERWRITE : 0) |
		      (copy->create_directories ? IC_FCOPY_CREATE_PATH : 0);
	body->size = size;
	return ic_provider_request(provider, IC_ANSWER_TIMEOUT_NS, fcopy_start_answered);
}

int ic_copy_file(struct ic *ic, const struct ic_copy *copy, ic_done *done, void *ctx)
{
	struct ic_provider *provider = &ic->services[IC_FCOPY];
	struct fcopy *fcopy = provider->state;
	uint64_t size = 0;
	int r = ic_provider_free_for_call(provider);

	if (r)
		return r;
	if (fcopy->phase != FCOPY_IDLE)
		return -EBUSY;
	r = bytes_left(copy->fd, &size);
	if (!r)
		r = fcopy_request_start(provider, copy, size);
	if (r)
		return r;
	*fcopy = (struct fcopy){
		.phase = FCOPY_STARTING,
		.call = {done, ctx},
		.progress = copy->progress,
		.fd = copy->fd,
		.size = size,
	};
	return 0;
}

int ic_cancel_copy(struct ic *ic)
{
	struct fcopy *fcopy = ic->services[IC_FCOPY].state;

	if (fcopy->phase == FCOPY_IDLE)
		return -ENOENT;
	fcopy->cancelled = true;
	return 0;
}

static const struct ic_version fcopy_versions[] = {{1, 1}};

const struct ic_row ic_fcopy_row = {
	.name = "fcopy",
	.class = GUID(0x34d14be3, 0xdee4, 0x41c8, 0x9a, 0xe7, 0x6b, 0x17, 0x49, 0x77, 0xc1, 0x92),
	.instance =
		GUID(0xeb765408, 0x105f, 0x49b6, 0xb4, 0xaa, 0xc1, 0x23, 0xb6, 0x4d, 0x17, 0xd4),
	.message_type = IC_MESSAGE_FCOPY,
	.versions = fcopy_versions,
	.version_count = ARRAY_SIZE(fcopy_versions),
	.state_bytes = sizeof(struct fcopy),
};
