/*
 * synic.c - the synthetic interrupt controller: messages and event flags to a VP
 *
 * Each VP has a page of sixteen message slots (SIMP) and one of sixteen sets of event flags
 * (SIEFP). A slot is free while its type is 0. Whoever finds it taken sets the pending flag in it
 * and looks again; the guest frees the slot first (an atomic exchange) and looks at the flag then.
 * So one of the two sees the other: either we find the slot free, or the guest finds the flag and
 * writes EOM. The type is written last, with release order: the guest never sees half a message.
 *
 * Nothing is queued here. Two kinds of senders wait for a slot: timers (stimer.message_waits) and
 * callers of hv_post_message() (vp.refused). A message that is put into the slot while others wait
 * for it carries the pending flag from the start, for it overwrites the one they set.
 * EOM and every change of the VP's SynIC lead to hv_synic_retry().
 *
 * A SINT that is masked or polled gets messages without an interrupt; a masked one gets no flags.
 */
#include "hv_internal.h"

#include <errno.h>
#include <string.h>

#define SLOT_BYTES sizeof(struct hv_message)

static void raise_sint(struct hv *hv, unsigned int vp, unsigned int sint)
{
	uint64_t value = hv->vps[vp].sints[sint];

	if (!(value & (HV_SINT_MASKED | HV_SINT_POLLING)))
		hv->services.interrupt(hv->services.ctx, vp, HV_SINT_VECTOR(value));
}

static void *synic_slot(struct hv *hv, const struct hv_vp *vp, uint64_t msr, unsigned int sint)
{
	if (!(vp->scontrol & HV_SCONTROL_ENABLE))
		return NULL;
	return hv_enabled_page(hv, msr, sint * SLOT_BYTES, SLOT_BYTES);
}

/* True if the slot is free; if not, the guest will write EOM. */
static bool claim_slot(struct hv_message *slot)
{
	if (!__atomic_load_n(&slot->type, __ATOMIC_ACQUIRE))
		return true;
	/* A full barrier: the flag is visible before the type is read again. */
	__atomic_fetch_or(&slot->flags, HV_MESSAGE_PENDING, __ATOMIC_SEQ_CST);
	return !__atomic_load_n(&slot->type, __ATOMIC_SEQ_CST);
}

static bool others_wait(const struct hv_vp *vp, unsigned int sint)
{
	return (vp->refused & BIT(sint)) || hv_stimer_message_waits(vp, sint);
}

/* The guest may still be looking at the flags of the message before: they are stored at once. */
static void fill_slot(struct hv_message *slot, const struct hv_outgoing *message, bool pending)
{
	memcpy(slot->payload, message->payload, message->bytes);
	slot->payload_bytes = message->bytes;
	slot->reserved = 0;
	slot->origin = 0;
	__atomic_store_n(&slot->flags, pending ? HV_MESSAGE_PENDING : 0, __ATOMIC_RELAXED);
	__atomic_store_n(&slot->type, message->type, __ATOMIC_RELEASE);
}

int hv_deliver_message(struct hv *hv, unsigned int vp, unsigned int sint,
		       const struct hv_outgoing *message, struct hv_after *after)
{
	struct hv_vp *target = &hv->vps[vp];
	struct hv_message *slot = synic_slot(hv, target, target->simp, sint);
	gpa_t gpa = (target->simp & HV_PAGE_ADDRESS) + sint * SLOT_BYTES;

	if (!slot)
		return -EAGAIN;
	hv_note_written(after, gpa, SLOT_BYTES);
	if (!claim_slot(slot))
		return -EAGAIN;
	fill_slot(slot, message, others_wait(target, sint));
	raise_sint(hv, vp, sint);
	return 0;
}

int hv_post_message(struct hv *hv, unsigned int vp, unsigned int sint, uint32_t type,
		    const void *payload, uint32_t bytes)
{
	const struct hv_outgoing message = {.type = type, .bytes = bytes, .payload = payload};
	struct hv_after after = {};
	int r;

	if (vp >= hv->config.vp_count || sint >= HV_SINTS || !type ||
	    bytes > HV_MESSAGE_PAYLOAD_BYTES)
		return -EINVAL;
	hv_lock(hv);
	r = hv_deliver_message(hv, vp, sint, &message, &after);
	if (r == -EAGAIN)
		hv->vps[vp].refused |= BIT(sint);
	hv_unlock(hv, &after);
	return r;
}

static int set_flag(struct hv *hv, unsigned int vp, unsigned int sint, unsigned int flag,
		    struct hv_after *after)
{
	struct hv_vp *target = &hv->vps[vp];
	uint8_t *flags = synic_slot(hv, target, target->siefp, sint);
	uint8_t mask = 1u << flag % 8;
	gpa_t gpa = (target->siefp & HV_PAGE_ADDRESS) + sint * SLOT_BYTES + flag / 8;

	if (!flags || (target->sints[sint] & HV_SINT_MASKED))
		return -EAGAIN;
	if (__atomic_fetch_or(&flags[flag / 8], mask, __ATOMIC_SEQ_CST) & mask)
		return 0;
	hv_note_written(after, gpa, 1);
	raise_sint(hv, vp, sint);
	return 0;
}

int hv_signal_flag(struct hv *hv, unsigned int vp, unsigned int sint, unsigned int flag)
{
	struct hv_after after = {};
	int r;

	if (vp >= hv->config.vp_count || sint >= HV_SINTS || flag >= HV_EVENT_FLAGS)
		return -EINVAL;
	hv_lock(hv);
	r = set_flag(hv, vp, sint, flag, &after);
	if (r == -EAGAIN)
		hv->vps[vp].refused |= BIT(HV_SINTS + sint);
	hv_unlock(hv, &after);
	return r;
}

void hv_synic_retry(struct hv *hv, unsigned int vp, struct hv_after *after)
{
	struct hv_vp *target = &hv->vps[vp];

	/* While @refused still tells the timers' messages that others wait. */
	hv_stimers_retry(hv, vp, after);
	if (target->refused)
		after->synic_ready = true;
	target->refused = 0;
}

bool hv_write_sint(struct hv *hv, unsigned int vp, unsigned int sint, uint64_t value)
{
	if (!(value & HV_SINT_MASKED) && HV_SINT_VECTOR(value) < HV_FIRST_VECTOR)
		return false;
	hv->vps[vp].sints[sint] = value;
	return true;
}

/* A page that appears is empty, whatever was in the RAM there: it may be an old kernel's. */
static void write_page_msr(struct hv *hv, uint64_t *msr, uint64_t value, struct hv_after *after)
{
	bool appears = hv_page_appears(*msr, value);
	void *page;

	*msr = value;
	page = appears ? hv_enabled_page(hv, value, 0, PAGE_BYTES) : NULL;
	if (!page)
		return;
	memset(page, 0, PAGE_BYTES);
	hv_note_written(after, value & HV_PAGE_ADDRESS, PAGE_BYTES);
}

void hv_write_simp(struct hv *hv, unsigned int vp, uint64_t value, struct hv_after *after)
{
	write_page_msr(hv, &hv->vps[vp].simp, value, after);
}

void hv_write_siefp(struct hv *hv, unsigned int vp, uint64_t value, struct hv_after *after)
{
	write_page_msr(hv, &hv->vps[vp].siefp, value, after);
}

void hv_synic_reset(struct hv_vp *vp)
{
	vp->scontrol = 0;
	vp->simp = 0;
	vp->siefp = 0;
	for (unsigned int sint = 0; sint < HV_SINTS; sint++)
		vp->sints[sint] = HV_SINT_RESET;
}
