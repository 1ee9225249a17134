/*
 * time.c - stopping the guest's time
 *
 * KVM's clocks run whether a VP does or not. So at the stop each VP's timer is noted and disarmed,
 * and at the start the TSC is put back by what has passed and the timer is armed for what was left.
 *
 * The TSC deadline is an MSR. A timer that counts down can only be changed with the whole local
 * APIC, whose interrupt requests must not change between reading and writing it: message_lock keeps
 * messages of other threads out, and no VP runs that could send one.
 *
 * A timer that expired before the stop, but whose interrupt KVM has not yet put into the local
 * APIC: a deadline in the past expires again when it is written back; a one-shot count is 0 then
 * and is left alone, and so is what KVM remembers of it. A periodic timer loses that one tick.
 */
#include "kvm_internal.h"

#define LAPIC_INITIAL_COUNT 0x380
#define LAPIC_CURRENT_COUNT 0x390

static uint32_t *lapic_word(void *lapic, unsigned int offset)
{
	return (uint32_t *)((char *)lapic + offset);
}

static int set_counts(struct kvm_vp *vp, uint32_t initial, uint32_t current)
{
	struct kvm_partition *part = kvm_vp_partition(vp);
	struct kvm_lapic_state lapic;
	int r;

	pthread_rwlock_wrlock(&part->message_lock);
	r = kvm_call(vp->fd, KVM_GET_LAPIC, &lapic);
	if (r >= 0) {
		*lapic_word(lapic.regs, LAPIC_INITIAL_COUNT) = initial;
		*lapic_word(lapic.regs, LAPIC_CURRENT_COUNT) = current;
		r = kvm_call(vp->fd, KVM_SET_LAPIC, &lapic);
	}
	pthread_rwlock_unlock(&part->message_lock);
	return r < 0 ? r : 0;
}

static int stop_timer(struct kvm_vp *vp)
{
	struct kvm_stopped_clocks *stopped = &vp->stopped;
	struct kvm_lapic_state lapic;
	int r = kvm_vp_get_tsc_deadline(vp, &stopped->deadline);

	if (!r && stopped->deadline)
		return kvm_vp_set_tsc_deadline(vp, 0);
	if (r >= 0)
		r = kvm_call(vp->fd, KVM_GET_LAPIC, &lapic);
	if (r < 0 || !*lapic_word(lapic.regs, LAPIC_CURRENT_COUNT))
		return r < 0 ? r : 0;
	stopped->initial = *lapic_word(lapic.regs, LAPIC_INITIAL_COUNT);
	stopped->current = *lapic_word(lapic.regs, LAPIC_CURRENT_COUNT);
	return set_counts(vp, 0, 0);
}

static int start_timer(struct kvm_vp *vp)
{
	const struct kvm_stopped_clocks *stopped = &vp->stopped;

	if (stopped->deadline)
		return kvm_vp_set_tsc_deadline(vp, stopped->deadline);
	return stopped->initial ? set_counts(vp, stopped->initial, stopped->current) : 0;
}

static int stop_vp(struct kvm_vp *vp, uint64_t host_tsc)
{
	int r;

	vp->stopped = (struct kvm_stopped_clocks){.host_tsc = host_tsc};
	r = kvm_vp_get_tsc_offset(vp, &vp->stopped.offset);
	return r < 0 ? r : stop_timer(vp);
}

static int start_vp(struct kvm_vp *vp, uint64_t host_tsc)
{
	const struct kvm_stopped_clocks *stopped = &vp->stopped;
	uint64_t lost = host_tsc - stopped->host_tsc;
	int r = kvm_vp_set_tsc(vp, stopped->offset - lost, stopped->host_tsc + stopped->offset);
	int timer = start_timer(vp);

	return r < 0 ? r : timer;
}

static int for_all_vps(struct partition *part, int (*change)(struct kvm_vp *vp, uint64_t host_tsc))
{
	uint64_t host_tsc = __builtin_ia32_rdtsc();
	int first_error = 0;

	for (unsigned int i = 0; i < part->vp_count; i++) {
		int r = part->vps[i] ? change(to_kvm_vp(part->vps[i]), host_tsc) : 0;

		if (r < 0 && !first_error)
			first_error = r;
	}
	return first_error;
}

int kvm_stop_time(struct partition *part)
{
	return for_all_vps(part, stop_vp);
}

int kvm_start_time(struct partition *part)
{
	return for_all_vps(part, start_vp);
}

void kvm_vp_show_stopped_clocks(const struct kvm_vp *vp, struct vp_state *state)
{
	const struct kvm_stopped_clocks *stopped = &vp->stopped;

	state->tsc = stopped->host_tsc + stopped->offset;
	state->tsc_deadline = stopped->deadline;
	if (!stopped->initial)
		return;
	*lapic_word(state->lapic, LAPIC_INITIAL_COUNT) = stopped->initial;
	*lapic_word(state->lapic, LAPIC_CURRENT_COUNT) = stopped->current;
}
