/*
 * apic.h - the local APIC of a VP, xAPIC and x2APIC (SDM vol. 3, "Advanced Programmable
 * Interrupt Controller")
 *
 * Light code. VP thread, except apic_send_msi(), apic_raise() and apic_extint(): any thread.
 */
#ifndef DBT_APIC_H
#define DBT_APIC_H

#include "partition_dbt.h"

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

/* The vector that would be taken now (priority above PPR; ExtINT included), or -1. */
int apic_pending(struct dbt_vp *vp);
/* Takes it: moves it to ISR, or runs the 8259's INTA cycle. Returns the vector, -1: spurious, none. */
int apic_acknowledge(struct dbt_vp *vp);

/* Any thread. */
void apic_send_msi(struct dbt_partition *part, const struct msi *msi);
void apic_set_extint(struct dbt_partition *part, bool asserted);

/* Timers: one timerfd per VP, one thread per partition; not light, except arming. */
int apic_timers_start(struct dbt_partition *part);
void apic_timers_stop(struct dbt_partition *part);
int apic_vp_create(struct dbt_vp *vp); /* opens the timerfd; 0 or -errno */
void apic_vp_destroy(struct dbt_vp *vp);

void apic_get_state(struct dbt_vp *vp, struct vp_state *ret_state);
int apic_set_state(struct dbt_vp *vp, const struct vp_state *state);

#endif
