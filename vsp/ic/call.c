/*
 * call.c - how the calls of ic.h end: one result and a sentence
 */
#include <errno.h>
#include <stdio.h>

#include "ic_internal.h"

void ic_call_finish(struct ic_call *call, int result, const char *text)
{
	struct ic_call finished = *call;

	*call = (struct ic_call){};
	if (finished.done)
		finished.done(finished.ctx, result, text);
}

static const char *status_meaning(uint32_t status)
{
	static const struct {
		uint32_t status;
		const char *meaning;
	} meanings[] = {
		{IC_STATUS_FAIL, "it failed"},
		{IC_STATUS_NOT_FOUND, "not found"},
		{IC_STATUS_NOT_SUPPORTED, "not supported"},
		{IC_STATUS_ALREADY_EXISTS, "it exists already"},
		{IC_STATUS_INVALID_ARGUMENT, "invalid argument"},
		{IC_STATUS_DISK_FULL, "its disk is full"},
		{IC_STATUS_NO_MORE_ITEMS, "no such item"},
		{IC_STATUS_DEVICE_NOT_CONNECTED, "its daemon does not run"},
		{IC_STATUS_MACHINE_LOCKED, "it is locked"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(meanings); i++) {
		if (meanings[i].status == status)
			return meanings[i].meaning;
	}
	return "for reasons of its own";
}

int ic_judge(int result, const struct ic_answer *answer, const char *what, char text[IC_TEXT_BYTES])
{
	text[0] = 0;
	if (result == -ETIMEDOUT) {
		snprintf(text, IC_TEXT_BYTES, "The guest did not answer %s.", what);
	} else if (result == -ENOTCONN) {
		snprintf(text, IC_TEXT_BYTES, "The guest closed the service during %s.", what);
	} else if (result) {
		snprintf(text, IC_TEXT_BYTES, "The guest could not be asked for %s.", what);
	} else if (answer->status != IC_STATUS_OK) {
		snprintf(text, IC_TEXT_BYTES, "The guest refused %s: %s (code 0x%08x).", what,
			 status_meaning(answer->status), answer->status);
		return -EREMOTEIO;
	}
	return result;
}
