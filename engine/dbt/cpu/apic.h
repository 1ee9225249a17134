/*
 * apic.h - the local APIC of a VP, xAPIC and x2APIC (SDM vol. 3, "Advanced Programmable
 * Interrupt Controller")
 *
 * Light code. VP thread, except apic_send_msi(), apic_raise() and apic_set_extint(): any thread.
 */
#ifndef DBT_APIC_H
#define DBT_APIC_H

#include "partition_dbt.h"

#define APIC_TIMER_HZ 1000000000ull /* its clock, before the divider */

enum apic_lvt { LVT_CMCI, LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR };

void apic_reset(struct dbt_vp *vp, bool init);

/* Register page; @offset 0..0xfff. Reads of holes are 0 and set ESR. */
uint32_t apic_mmio_read(struct dbt_vp *vp, uint32_t offset);
void apic_mmio_write(struct dbt_vp *vp, uint32_t offset, uint32_t value);
/* True when @gpa is in the enabled xAPIC page of this VP. */
bool apic_owns(const struct dbt_vp *vp, gpa_t gpa);

/*
 * MSRs 0x1b, 0x6e0 and 0x800..0x8ff. Return 0, or -1: #GP.
 * A write may set vp->leave = LEAVE_EXIT (VP_EXIT_EOI of a level-triggered vector), as may
 * apic_mmio_write(): the instruction is complete then.
 */
int apic_msr_read(struct dbt_vp *vp, uint32_t index, uint64_t *ret_value);
int apic_msr_write(struct dbt_vp *vp, uint32_t index, uint64_t value);

uint64_t apic_get_tpr(struct dbt_vp *vp);            /* CR8 */
void apic_set_tpr(struct dbt_vp *vp, uint64_t cr8);

/*
 * apic_pending() - the vector that would be taken now (priority above PPR), or -1
 * APIC_EXTINT: the 8259 has one, whose number only its INTA cycle tells.
 */
int apic_pending(struct dbt_vp *vp);
#define APIC_EXTINT 256
/*
 * apic_acknowledge() - take it: move it to ISR
 * Returns the vector; -1: none any more, or an ExtINT, whose INTA cycle takes locks: vp->leave is
 * LEAVE_HEAVY then, and after vp->heavy(vp) apic_pending() has the vector.
 */
int apic_acknowledge(struct dbt_vp *vp);

/* The guest's TSC was changed: a deadline in terms of it is armed anew. */
void apic_tsc_changed(struct dbt_vp *vp);

/*
 * Time was stopped for @tsc ticks of the host's counter and runs again: delay first, for every VP;
 * wake after the clock runs, which sets the alarms. No VP runs.
 */
void apic_timer_delay(struct dbt_vp *vp, uint64_t tsc);
void apic_timer_wake(struct dbt_vp *vp);

/* Any thread. */
void apic_raise(struct dbt_vp *vp, uint8_t vector); /* a fixed, edge-triggered interrupt */
void apic_send_msi(struct dbt_partition *part, const struct msi *msi);
void apic_set_extint(struct dbt_partition *part, bool asserted);

/*
 * Timers: one timerfd per VP, one thread per partition; not light, except arming. VPs may be
 * created before or after the thread's start; stop it before a VP is destroyed.
 */
int apic_timers_start(struct dbt_partition *part);
void apic_timers_stop(struct dbt_partition *part);
int apic_vp_create(struct dbt_vp *vp); /* opens the timerfd; 0 or -errno */
void apic_vp_destroy(struct dbt_vp *vp);

/*
 * The members lapic, apic_base, cr8 and tsc_deadline. Set the TSC before, mmu_flush_all() after.
 * -EINVAL: reserved bits are set; nothing was changed.
 */
void apic_get_state(struct dbt_vp *vp, struct vp_state *ret_state);
int apic_set_state(struct dbt_vp *vp, const struct vp_state *state);

#endif
