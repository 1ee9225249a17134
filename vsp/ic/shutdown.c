/*
 * shutdown.c - ask the guest to power off, restart or hibernate
 *
 * The answer says only that the guest accepted; it comes before the guest begins.
 */
#include <errno.h>
#include <string.h>

#include "ic_internal.h"
#include "utf16.h"

static void shutdown_answered(struct ic_provider *provider, int result,
			      const struct ic_answer *answer)
{
	struct ic_call *call = provider->state;
	char text[IC_TEXT_BYTES];

	result = ic_judge(result, answer, "the request", text);
	ic_call_finish(call, result, text);
}

/* @reason cut between two characters, so that it fits. */
static int put_reason(const char *reason, struct ic_shutdown_body *body)
{
	char cut[IC_SHUTDOWN_TEXT_UNITS];
	size_t bytes = strnlen(reason, sizeof(cut) - 1);
	int r;

	if (reason[bytes]) {
		while (bytes && ((uint8_t)reason[bytes] & 0xc0) == 0x80)
			bytes--;
	}
	memcpy(cut, reason, bytes);
	cut[bytes] = 0;
	r = utf16_from_utf8(cut, body->text, IC_SHUTDOWN_TEXT_UNITS);
	return MIN(r, 0);
}

int ic_shutdown(struct ic *ic, enum ic_shutdown_kind kind, bool force, const char *reason,
		ic_done *done, void *ctx)
{
	static const uint32_t flags[] = {
		[IC_SHUTDOWN_POWER_OFF] = 0,
		[IC_SHUTDOWN_REBOOT] = IC_SHUTDOWN_FLAG_RESTART,
		[IC_SHUTDOWN_HIBERNATE] = IC_SHUTDOWN_FLAG_HIBERNATE,
	};
	struct ic_provider *provider = &ic->services[IC_SHUTDOWN];
	struct ic_shutdown_body *body;
	int r = ic_provider_free_for_call(provider);

	if (r)
		return r;
	if (kind == IC_SHUTDOWN_HIBERNATE && !ic_provider_has_version(provider, 3, 2))
		return -ENOTSUP;
	body = ic_provider_body(provider, sizeof(*body));
	body->reason = IC_SHUTDOWN_PLANNED;
	body->flags = flags[kind] | (force ? IC_SHUTDOWN_FLAG_FORCE : 0);
	r = reason ? put_reason(reason, body) : 0;
	if (!r)
		r = ic_provider_request(provider, IC_ANSWER_TIMEOUT_NS, shutdown_answered);
	if (!r)
		*(struct ic_call *)provider->state = (struct ic_call){done, ctx};
	return r;
}

/* The guest that takes 3.2 knows hibernation (Linux: "Update the Shutdown IC version to 3.2"). */
static const struct ic_version shutdown_versions[] = {{1, 0}, {3, 0}, {3, 1}, {3, 2}};

const struct ic_row ic_shutdown_row = {
	.name = "shutdown",
	.class = GUID(0x0e0b6031, 0x5213, 0x4934, 0x81, 0x8b, 0x38, 0xd9, 0x0c, 0xed, 0x39, 0xdb),
	.instance =
		GUID(0xb6650ff7, 0x33bc, 0x4840, 0x80, 0x48, 0xe0, 0x67, 0x67, 0x86, 0xf3, 0x93),
	.message_type = IC_MESSAGE_SHUTDOWN,
	.versions = shutdown_versions,
	.version_count = ARRAY_SIZE(shutdown_versions),
	.state_bytes = sizeof(struct ic_call),
};
