/*
 * crash.c - a guest's last words: what it left in the crash MSRs, and the text they point to
 *
 * The text is a copy of guest memory, bounded by the buffer; where it is not RAM there is none.
 * The guest goes on: it reboots, or boots a kernel that saves its memory.
 */
#include "hv_internal.h"

#include <string.h>

/* @crash is zeroed, and one byte of its text stays so. */
static void copy_text(struct hv *hv, struct hv_crash *crash)
{
	uint64_t bytes = MIN(crash->parameters[4], sizeof(crash->text) - 1);
	const void *text;

	text = bytes ? hv->services.ram(hv->services.ctx, crash->parameters[3], bytes) : NULL;
	if (text)
		memcpy(crash->text, text, bytes);
}

void hv_report_crash(struct hv *hv, uint64_t control)
{
	const struct hv_after nothing = {};
	struct hv_crash crash = {.control = control, .guest_os_id = hv_guest_os_id(hv)};

	hv_lock(hv);
	memcpy(crash.parameters, hv->crash_parameters, sizeof(crash.parameters));
	hv_unlock(hv, &nothing);
	if (control & HV_CRASH_MESSAGE)
		copy_text(hv, &crash);
	hv->services.crash(hv->services.ctx, &crash);
}
