/* apic_internal.h - what apic.c (registers, messages) and apic_timer.c share. */
#ifndef DBT_APIC_INTERNAL_H
#define DBT_APIC_INTERNAL_H

#include "apic.h"

#define APIC_BASE_BSP BIT(8)
#define APIC_BASE_X2APIC BIT(10)
#define APIC_BASE_ENABLE BIT(11)

#define LVT_VECTOR 0xffu
#define LVT_MODE_SHIFT 8
#define LVT_MASKED 0x10000u
#define LVT_TIMER_MODE 0x60000u
#define LVT_TIMER_ONE_SHOT 0u
#define LVT_TIMER_PERIODIC 0x20000u
#define LVT_TIMER_DEADLINE 0x40000u

static inline uint32_t apic_lvt(const struct dbt_vp *vp, enum apic_lvt which)
{
	return __atomic_load_n(&vp->apic.lvt[which], __ATOMIC_RELAXED);
}

/* apic_timer.c; VP thread. The initial count, the divider, or the timer's mode was written. */
void apic_timer_start(struct dbt_vp *vp, uint32_t initial);
void apic_timer_set_divide(struct dbt_vp *vp, uint32_t divide);
void apic_timer_mode_changed(struct dbt_vp *vp, uint32_t old_lvt);
void apic_timer_set_deadline(struct dbt_vp *vp, uint64_t guest_tsc);
void apic_timer_stop(struct dbt_vp *vp);
/* The count as it is now, the deadline if it has not passed, else 0. */
uint32_t apic_timer_current(struct dbt_vp *vp);
uint64_t apic_timer_deadline(struct dbt_vp *vp);
/* Goes on from @current, as if the count had been started some time ago. */
void apic_timer_resume(struct dbt_vp *vp, uint32_t initial, uint32_t current);

#endif
