/*
 * apic.c - the local APIC: registers, priorities, messages between processors
 *
 * Two register interfaces, xAPIC (a page of memory) and x2APIC (MSRs), over one register file; the
 * table `registers` has a row for each register with what either interface may do. The APIC's mode
 * is in IA32_APIC_BASE; with the enable bit clear the APIC does not exist for the guest.
 *
 * Threads: anyone may set bits of IRR and TMR, atomically, and then irq_pending and a kick, in this
 * order; the VP thread clears irq_pending first and looks at IRR after. Everything else is written
 * by the VP thread only. What senders look at in other VPs (APIC_BASE, LDR, DFR, SVR, LVT) is
 * stored and loaded as whole words; a sender may see the state just before a change, as on a bus.
 *
 * The APIC id is the VP's index and cannot be changed.
 */
#include "apic_internal.h"

#include <errno.h>

#include "mmu.h"

#define APIC_VERSION 0x50014u /* 6 LVT entries; no suppression of EOI broadcasts */
#define APIC_BASE_DEFAULT 0xfee00000ull
#define SVR_ENABLE 0x100u
#define SVR_BITS 0x3ffu
#define ESR_SEND_VECTOR BIT(5)
#define ESR_RECEIVE_VECTOR BIT(6)
#define ESR_REGISTER BIT(7)

#define ICR_LOGICAL 0x800u
#define ICR_STATUS 0x1000u
#define ICR_ASSERT 0x4000u
#define ICR_LEVEL 0x8000u
#define ICR_BITS 0xccfffu

enum {
	DELIVER_FIXED, DELIVER_LOWEST, DELIVER_SMI, DELIVER_RESERVED,
	DELIVER_NMI, DELIVER_INIT, DELIVER_SIPI, DELIVER_EXTINT
};
enum { TO_DESTINATION, TO_SELF, TO_ALL, TO_OTHERS };

#define REG_EOI 0x0b
#define REG_ICR 0x30
#define REG_LVT 0x32 /* the timer's */

static uint64_t load_base(const struct dbt_vp *vp)
{
	return __atomic_load_n(&vp->apic_base, __ATOMIC_RELAXED);
}

static bool is_x2apic(const struct dbt_vp *vp)
{
	return load_base(vp) & APIC_BASE_X2APIC;
}

static uint32_t load_word(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static void store_word(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
}

bool apic_owns(const struct dbt_vp *vp, gpa_t gpa)
{
	uint64_t mode = vp->apic_base & (APIC_BASE_ENABLE | APIC_BASE_X2APIC);

	return mode == APIC_BASE_ENABLE && (gpa ^ vp->apic_base) >> 12 == 0;
}

/* --- priorities --- */

static int highest_bit(uint32_t word, int index)
{
	return index * 32 + 31 - __builtin_clz(word);
}

static int highest_isr(const struct apic *apic)
{
	for (int i = 7; i >= 0; i--) {
		if (apic->isr[i])
			return highest_bit(apic->isr[i], i);
	}
	return -1;
}

static int highest_irr(struct apic *apic)
{
	for (int i = 7; i >= 0; i--) {
		uint32_t word = atomic_load_explicit(&apic->irr[i], memory_order_acquire);

		if (word)
			return highest_bit(word, i);
	}
	return -1;
}

static uint32_t processor_priority(const struct apic *apic)
{
	int isr = highest_isr(apic);
	uint32_t served = isr < 0 ? 0 : isr & 0xf0;

	return (apic->tpr & 0xf0) >= served ? apic->tpr : served;
}

static int pending_fixed(struct dbt_vp *vp)
{
	int vector = highest_irr(&vp->apic);

	if (vector < 0 || (vector & 0xf0) <= (processor_priority(&vp->apic) & 0xf0))
		return -1;
	return vp->apic_base & APIC_BASE_ENABLE ? vector : -1;
}

/* The 8259 reaches VP 0 when its APIC is off, or by LINT0 as ExtINT. */
static bool extint_wanted(struct dbt_vp *vp)
{
	uint32_t lint0 = apic_lvt(vp, LVT_LINT0);

	if (vp->vp.index != 0 || !atomic_load(&vp_partition(vp)->extint))
		return false;
	return !(vp->apic_base & APIC_BASE_ENABLE) ||
	       (!(lint0 & LVT_MASKED) && (lint0 >> LVT_MODE_SHIFT & 7) == DELIVER_EXTINT);
}

int apic_pending(struct dbt_vp *vp)
{
	if (unlikely(vp->apic.extint_vector >= 0))
		return vp->apic.extint_vector;
	return extint_wanted(vp) ? APIC_EXTINT : pending_fixed(vp);
}

/* Heavy: the INTA cycle; its result waits in extint_vector. */
static void acknowledge_extint(struct dbt_vp *vp)
{
	struct dbt_partition *part = vp_partition(vp);

	if (part->acknowledge_extint)
		vp->apic.extint_vector = part->acknowledge_extint(part->ctx);
	atomic_store(&vp->irq_pending, 1);
}

static void look_again(struct dbt_vp *vp)
{
	atomic_store(&vp->irq_pending, 1);
	vp_request_exit(vp);
}

int apic_acknowledge(struct dbt_vp *vp)
{
	struct apic *apic = &vp->apic;
	int vector = apic_pending(vp);

	if (vector == APIC_EXTINT) {
		look_again(vp); /* should something else take vp->leave */
		vp->heavy = acknowledge_extint;
		vp->leave = LEAVE_HEAVY;
		return -1;
	}
	if (apic->extint_vector >= 0) {
		apic->extint_vector = -1;
		return vector & 0xff;
	}
	if (vector >= 0) {
		atomic_fetch_and(&apic->irr[vector / 32], ~(1u << vector % 32));
		apic->isr[vector / 32] |= 1u << vector % 32;
	}
	return vector;
}

/* After PPR may have gone down, on the VP thread. */
static void priority_changed(struct dbt_vp *vp)
{
	if (pending_fixed(vp) >= 0)
		look_again(vp);
}

uint64_t apic_get_tpr(struct dbt_vp *vp)
{
	return vp->apic.tpr >> 4;
}

static void write_tpr(struct dbt_vp *vp, uint32_t reg, uint32_t value)
{
	uint32_t old = vp->apic.tpr;

	vp->apic.tpr = value;
	if (value < old)
		priority_changed(vp);
}

void apic_set_tpr(struct dbt_vp *vp, uint64_t cr8)
{
	write_tpr(vp, 0, (cr8 & 15) << 4);
}

/* --- accepting --- */

static void accept(struct dbt_vp *vp, uint8_t vector, bool level)
{
	struct apic *apic = &vp->apic;
	uint32_t bit = 1u << vector % 32;

	if (vector < 16) {
		__atomic_fetch_or(&apic->esr_pending, ESR_RECEIVE_VECTOR, __ATOMIC_RELAXED);
		return;
	}
	if (level)
		atomic_fetch_or(&apic->tmr[vector / 32], bit);
	else if (atomic_load_explicit(&apic->tmr[vector / 32], memory_order_relaxed) & bit)
		atomic_fetch_and(&apic->tmr[vector / 32], ~bit);
	atomic_fetch_or(&apic->irr[vector / 32], bit);
	atomic_store(&vp->irq_pending, 1);
}

void apic_raise(struct dbt_vp *vp, uint8_t vector)
{
	accept(vp, vector, false);
	dbt_kick(vp);
}

static void raise_error(struct dbt_vp *vp, uint32_t error)
{
	uint32_t lvt = apic_lvt(vp, LVT_ERROR);

	__atomic_fetch_or(&vp->apic.esr_pending, error, __ATOMIC_RELAXED);
	if (lvt & LVT_MASKED)
		return;
	accept(vp, lvt & LVT_VECTOR, false);
	look_again(vp);
}

/* --- messages --- */

struct message {
	uint32_t destination;
	bool wide; /* destination has 32 bits, from an x2APIC; otherwise 8 */
	bool logical;
	bool level;
	uint8_t mode, vector;
};

static uint32_t x2apic_ldr(uint32_t id)
{
	return id >> 4 << 16 | 1u << (id & 15);
}

static bool matches_logical(struct dbt_vp *vp, const struct message *message)
{
	uint32_t ldr = load_word(&vp->apic.ldr), to = message->destination;

	if (is_x2apic(vp)) {
		ldr = x2apic_ldr(vp->apic.id);
		return to >> 16 == ldr >> 16 && (to & ldr & 0xffff);
	}
	if (to > 0xff)
		return false;
	if (load_word(&vp->apic.dfr) >> 28 == 15)
		return ldr >> 24 & to;
	return to >> 4 == ldr >> 28 && (to & ldr >> 24 & 15);
}

static bool matches(struct dbt_vp *vp, const struct message *message)
{
	if (!(load_base(vp) & APIC_BASE_ENABLE))
		return false;
	if (message->destination == (message->wide ? 0xffffffff : 0xff))
		return true;
	return message->logical ? matches_logical(vp, message) : message->destination == vp->apic.id;
}

static bool takes_interrupts(struct dbt_vp *vp)
{
	return load_word(&vp->apic.svr) & SVR_ENABLE;
}

static void request(struct dbt_vp *vp, uint32_t what)
{
	atomic_fetch_or(&vp->requests, what);
	dbt_kick(vp);
}

static void deliver_to(struct dbt_vp *vp, const struct message *message, struct dbt_vp *source)
{
	switch (message->mode) {
	case DELIVER_FIXED:
	case DELIVER_LOWEST:
		if (!takes_interrupts(vp))
			return;
		accept(vp, message->vector, message->level);
		if (vp == source)
			vp_request_exit(vp);
		else
			dbt_kick(vp);
		return;
	case DELIVER_NMI: request(vp, REQ_NMI); return;
	case DELIVER_INIT: request(vp, REQ_INIT); return;
	case DELIVER_SIPI:
		atomic_store(&vp->sipi_vector, message->vector);
		request(vp, REQ_SIPI);
		return;
	}
}

/* One of the candidates, spread by vector, as hashing chipsets do. */
static void deliver_lowest(struct dbt_partition *part, const struct message *message,
			   struct dbt_vp *source, uint64_t candidates)
{
	unsigned int skip = candidates ? message->vector % __builtin_popcountll(candidates) : 0;

	if (!candidates)
		return;
	while (skip--)
		candidates &= candidates - 1;
	deliver_to(partition_vp(part, __builtin_ctzll(candidates)), message, source);
}

static_assert(PARTITION_MAX_VPS <= 64, "sets of VPs are 64-bit words");

/* @everyone: regardless of the destination; @source: the sender, @except: not to it. */
static void deliver(struct dbt_partition *part, const struct message *message,
		    struct dbt_vp *source, bool everyone, bool except)
{
	uint64_t candidates = 0;

	for (unsigned int i = 0; i < part->part.vp_count; i++) {
		struct dbt_vp *vp = partition_vp(part, i);

		if (!vp || (except && vp == source))
			continue;
		if (everyone ? !(load_base(vp) & APIC_BASE_ENABLE) : !matches(vp, message))
			continue;
		if (message->mode != DELIVER_LOWEST)
			deliver_to(vp, message, source);
		else if (takes_interrupts(vp))
			candidates |= BIT(i);
	}
	if (message->mode == DELIVER_LOWEST)
		deliver_lowest(part, message, source, candidates);
}

static void deliver_message(struct dbt_partition *part, const struct message *message,
			    struct dbt_vp *source)
{
	struct dbt_vp *vp;

	/* The APIC id is the index. */
	if (!message->logical && message->destination < part->part.vp_count) {
		vp = partition_vp(part, message->destination);
		if (vp && matches(vp, message))
			deliver_to(vp, message, source);
	} else {
		deliver(part, message, source, false, false);
	}
}

void apic_send_msi(struct dbt_partition *part, const struct msi *msi)
{
	struct message message = {
		/* Bits 40 and up extend the destination, in the way of KVM and interrupt remapping. */
		.destination = (msi->address >> 12 & 0xff) | (msi->address >> 32 & 0xffffff00),
		.logical = msi->address & 4,
		.mode = msi->data >> 8 & 7,
		.vector = msi->data,
		.level = msi->data & ICR_LEVEL,
	};

	if ((msi->address & 0xfff00000) != 0xfee00000)
		return;
	deliver_message(part, &message, NULL);
}

void apic_set_extint(struct dbt_partition *part, bool asserted)
{
	struct dbt_vp *vp = partition_vp(part, 0);

	atomic_store(&part->extint, asserted);
	if (!asserted || !vp)
		return;
	atomic_store(&vp->irq_pending, 1);
	dbt_kick(vp);
}

static void send_ipi(struct dbt_vp *vp, uint32_t low, uint32_t destination)
{
	struct dbt_partition *part = vp_partition(vp);
	struct message message = {
		.destination = destination,
		.wide = is_x2apic(vp),
		.logical = low & ICR_LOGICAL,
		.mode = low >> 8 & 7,
		.vector = low,
	};
	bool fixed = message.mode == DELIVER_FIXED || message.mode == DELIVER_LOWEST;

	if (fixed && message.vector < 16) {
		raise_error(vp, ESR_SEND_VECTOR);
		return;
	}
	if (message.mode == DELIVER_INIT && (low & ICR_LEVEL) && !(low & ICR_ASSERT))
		return; /* INIT level de-assert: nothing, since the Pentium 4 */
	switch (low >> 18 & 3) {
	case TO_DESTINATION: deliver_message(part, &message, vp); return;
	case TO_SELF:
		if (fixed)
			deliver_to(vp, &message, vp);
		return;
	case TO_ALL: deliver(part, &message, vp, true, !fixed); return;
	case TO_OTHERS: deliver(part, &message, vp, true, true); return;
	}
}

/* --- end of interrupt --- */

static void write_eoi(struct dbt_vp *vp, uint32_t reg, uint32_t value)
{
	struct apic *apic = &vp->apic;
	int vector = highest_isr(apic);

	if (vector < 0)
		return;
	apic->isr[vector / 32] &= ~(1u << vector % 32);
	if (unlikely(atomic_load(&apic->tmr[vector / 32]) >> vector % 32 & 1)) {
		vp->exit.reason = VP_EXIT_EOI;
		vp->exit.eoi.vector = vector;
		vp->leave = LEAVE_EXIT;
	}
	priority_changed(vp);
}

/* --- registers --- */

#define LVT_READ_ONLY 0x5000u /* delivery status, remote IRR */

static uint32_t read_id(struct dbt_vp *vp, uint32_t reg)
{
	return is_x2apic(vp) ? vp->apic.id : vp->apic.id << 24;
}
static uint32_t read_version(struct dbt_vp *vp, uint32_t reg)
{
	return APIC_VERSION;
}
static uint32_t read_tpr(struct dbt_vp *vp, uint32_t reg)
{
	return vp->apic.tpr;
}
static uint32_t read_ppr(struct dbt_vp *vp, uint32_t reg)
{
	return processor_priority(&vp->apic);
}
static uint32_t read_apr(struct dbt_vp *vp, uint32_t reg)
{
	int irr = highest_irr(&vp->apic);
	uint32_t requested = irr < 0 ? 0 : irr & 0xf0, priority = processor_priority(&vp->apic);

	return (priority & 0xf0) >= requested ? priority : requested;
}
static uint32_t read_zero(struct dbt_vp *vp, uint32_t reg)
{
	return 0;
}
static uint32_t read_ldr(struct dbt_vp *vp, uint32_t reg)
{
	return is_x2apic(vp) ? x2apic_ldr(vp->apic.id) : vp->apic.ldr;
}
static uint32_t read_dfr(struct dbt_vp *vp, uint32_t reg)
{
	return vp->apic.dfr;
}
static uint32_t read_svr(struct dbt_vp *vp, uint32_t reg)
{
	return vp->apic.svr;
}
static uint32_t read_bits(struct dbt_vp *vp, uint32_t reg)
{
	struct apic *apic = &vp->apic;

	return reg < 0x18 ? apic->isr[reg & 7] : atomic_load(&(reg < 0x20 ? apic->tmr : apic->irr)[reg & 7]);
}
static uint32_t read_esr(struct dbt_vp *vp, uint32_t reg)
{
	return vp->apic.esr;
}
static uint32_t read_icr_low(struct dbt_vp *vp, uint32_t reg)
{
	return vp->apic.icr_low;
}
static uint32_t read_icr_high(struct dbt_vp *vp, uint32_t reg)
{
	return vp->apic.icr_high;
}
static uint32_t read_lvt(struct dbt_vp *vp, uint32_t reg)
{
	return vp->apic.lvt[LVT_TIMER + reg - REG_LVT];
}
static uint32_t read_initial(struct dbt_vp *vp, uint32_t reg)
{
	return vp->apic.timer_initial;
}
static uint32_t read_current(struct dbt_vp *vp, uint32_t reg)
{
	return apic_timer_current(vp);
}
static uint32_t read_divide(struct dbt_vp *vp, uint32_t reg)
{
	return vp->apic.timer_divide;
}

static void write_ldr(struct dbt_vp *vp, uint32_t reg, uint32_t value)
{
	store_word(&vp->apic.ldr, value);
}

static void write_dfr(struct dbt_vp *vp, uint32_t reg, uint32_t value)
{
	store_word(&vp->apic.dfr, value | 0x0fffffff);
}

static void write_lvt(struct dbt_vp *vp, uint32_t reg, uint32_t value)
{
	enum apic_lvt which = LVT_TIMER + reg - REG_LVT;
	uint32_t old = vp->apic.lvt[which];

	if (!takes_interrupts(vp))
		value |= LVT_MASKED;
	store_word(&vp->apic.lvt[which], value);
	if (which == LVT_TIMER)
		apic_timer_mode_changed(vp, old);
	if (which == LVT_LINT0 && extint_wanted(vp))
		look_again(vp);
}

static void write_svr(struct dbt_vp *vp, uint32_t reg, uint32_t value)
{
	store_word(&vp->apic.svr, value);
	if (value & SVR_ENABLE)
		return;
	for (unsigned int i = LVT_TIMER; i <= LVT_ERROR; i++)
		store_word(&vp->apic.lvt[i], vp->apic.lvt[i] | LVT_MASKED);
}

static void write_esr(struct dbt_vp *vp, uint32_t reg, uint32_t value)
{
	vp->apic.esr = __atomic_exchange_n(&vp->apic.esr_pending, 0, __ATOMIC_RELAXED);
}

static void write_icr_low(struct dbt_vp *vp, uint32_t reg, uint32_t value)
{
	vp->apic.icr_low = value;
	send_ipi(vp, value, vp->apic.icr_high >> 24);
}

static void write_icr_high(struct dbt_vp *vp, uint32_t reg, uint32_t value)
{
	vp->apic.icr_high = value;
}

static void write_initial(struct dbt_vp *vp, uint32_t reg, uint32_t value)
{
	apic_timer_start(vp, value);
}

static void write_divide(struct dbt_vp *vp, uint32_t reg, uint32_t value)
{
	apic_timer_set_divide(vp, value);
}

static void write_self_ipi(struct dbt_vp *vp, uint32_t reg, uint32_t value)
{
	send_ipi(vp, TO_SELF << 18 | value, 0);
}

#define X1_R 1u /* xAPIC reads */
#define X1_W 2u
#define X2_R 4u
#define X2_W 8u
#define ALL_R (X1_R | X2_R)
#define ALL_RW (X1_R | X1_W | X2_R | X2_W)

struct apic_register {
	uint8_t access;
	uint32_t bits; /* that a write may set: the x2APIC faults on others, the xAPIC drops them */
	uint32_t (*read)(struct dbt_vp *vp, uint32_t reg);
	void (*write)(struct dbt_vp *vp, uint32_t reg, uint32_t value);
};

/* By offset / 16, and x2APIC MSR - 0x800. SDM vol. 3, "Local APIC Register Address Map". */
static const struct apic_register registers[0x40] = {
	[0x02] = {ALL_R, 0, read_id, NULL},
	[0x03] = {ALL_R, 0, read_version, NULL},
	[0x08] = {ALL_RW, 0xff, read_tpr, write_tpr},
	[0x09] = {X1_R, 0, read_apr, NULL},
	[0x0a] = {ALL_R, 0, read_ppr, NULL},
	[REG_EOI] = {X1_R | X1_W | X2_W, 0, read_zero, write_eoi},
	[0x0c] = {X1_R, 0, read_zero, NULL},
	[0x0d] = {ALL_R | X1_W, 0xff000000, read_ldr, write_ldr},
	[0x0e] = {X1_R | X1_W, 0xf0000000, read_dfr, write_dfr},
	[0x0f] = {ALL_RW, SVR_BITS, read_svr, write_svr},
	[0x10 ... 0x27] = {ALL_R, 0, read_bits, NULL},
	[0x28] = {ALL_RW, 0, read_esr, write_esr},
	[REG_ICR] = {X1_R | X1_W, ICR_BITS, read_icr_low, write_icr_low}, /* x2APIC: 64 bits, below */
	[0x31] = {X1_R | X1_W, 0xff000000, read_icr_high, write_icr_high},
	[0x32] = {ALL_RW, 0x700ff, read_lvt, write_lvt},
	[0x33] = {ALL_RW, 0x107ff, read_lvt, write_lvt},
	[0x34] = {ALL_RW, 0x107ff, read_lvt, write_lvt},
	[0x35] = {ALL_RW, 0x1a7ff, read_lvt, write_lvt},
	[0x36] = {ALL_RW, 0x1a7ff, read_lvt, write_lvt},
	[0x37] = {ALL_RW, 0x100ff, read_lvt, write_lvt},
	[0x38] = {ALL_RW, 0xffffffff, read_initial, write_initial},
	[0x39] = {ALL_R, 0, read_current, NULL},
	[0x3e] = {ALL_RW, 0xb, read_divide, write_divide},
	[0x3f] = {X2_W, 0xff, NULL, write_self_ipi},
};

static const struct apic_register *mmio_register(struct dbt_vp *vp, uint32_t offset, uint8_t access)
{
	const struct apic_register *row = &registers[offset / 16 & 0x3f];

	if (offset < 0x400 && !(offset & 15) && (row->access & access))
		return row;
	raise_error(vp, ESR_REGISTER);
	return NULL;
}

uint32_t apic_mmio_read(struct dbt_vp *vp, uint32_t offset)
{
	const struct apic_register *row;

	if (offset & 12)
		return 0; /* between two registers */
	row = mmio_register(vp, offset, X1_R);
	return row ? row->read(vp, offset / 16) : 0;
}

void apic_mmio_write(struct dbt_vp *vp, uint32_t offset, uint32_t value)
{
	const struct apic_register *row = mmio_register(vp, offset, X1_W);

	if (row)
		row->write(vp, offset / 16, value & row->bits);
}

/* --- IA32_APIC_BASE and reset --- */

static void reset_registers(struct dbt_vp *vp)
{
	struct apic *apic = &vp->apic;

	apic_timer_stop(vp);
	for (int i = 0; i < 8; i++) {
		atomic_store(&apic->irr[i], 0);
		atomic_store(&apic->tmr[i], 0);
		apic->isr[i] = 0;
	}
	apic->id = vp->vp.index;
	apic->tpr = apic->esr = 0;
	__atomic_store_n(&apic->esr_pending, 0, __ATOMIC_RELAXED);
	store_word(&apic->ldr, 0);
	store_word(&apic->dfr, 0xffffffff);
	store_word(&apic->svr, 0xff);
	apic->icr_low = apic->icr_high = 0;
	apic->timer_initial = apic->timer_divide = 0;
	apic->timer_deadline_tsc = 0;
	apic->extint_vector = -1;
	for (unsigned int i = 0; i < ARRAY_SIZE(apic->lvt); i++)
		store_word(&apic->lvt[i], LVT_MASKED);
	/*
	 * Virtual wire mode, which firmware would have set up: kernels started without any expect
	 * the 8259 to work (Intel MP specification, "Virtual Wire Mode"). KVM does the same.
	 */
	if (vp->vp.index == 0)
		store_word(&apic->lvt[LVT_LINT0], DELIVER_EXTINT << LVT_MODE_SHIFT);
}

static void store_base(struct dbt_vp *vp, uint64_t base)
{
	__atomic_store_n(&vp->apic_base, base, __ATOMIC_RELAXED);
}

void apic_reset(struct dbt_vp *vp, bool init)
{
	if (!init)
		store_base(vp, APIC_BASE_DEFAULT | APIC_BASE_ENABLE | (vp->vp.index == 0 ? APIC_BASE_BSP : 0));
	reset_registers(vp);
}

static bool base_is_valid(struct dbt_vp *vp, uint64_t base)
{
	unsigned int bits = vp_partition(vp)->physical_bits;

	if ((base & 0x2ff) || (bits >= 32 && bits < 64 && base >> bits))
		return false;
	return !(base & APIC_BASE_X2APIC) || (base & APIC_BASE_ENABLE);
}

static int write_base(struct dbt_vp *vp, uint64_t base)
{
	uint64_t old = vp->apic_base, mode = APIC_BASE_ENABLE | APIC_BASE_X2APIC;

	base = (base & ~APIC_BASE_BSP) | (vp->vp.index == 0 ? APIC_BASE_BSP : 0);
	if (!base_is_valid(vp, base))
		return -1;
	if ((old & mode) == mode && (base & mode) == APIC_BASE_ENABLE)
		return -1; /* x2APIC to xAPIC only by way of off */
	if (!(old & mode) && (base & mode) == mode)
		return -1;
	if (base == old)
		return 0;
	store_base(vp, base);
	if ((old & mode) && !(base & mode)) {
		reset_registers(vp);
	} else if ((old ^ base) & mode) {
		vp->apic.icr_high = 0;
		store_word(&vp->apic.ldr, 0);
	}
	mmu_flush_all(vp); /* the page came, went or moved */
	look_again(vp);
	return 0;
}

/* --- MSRs --- */

static const struct apic_register *msr_register(uint32_t index, uint8_t access)
{
	const struct apic_register *row = &registers[index & 0x3f];

	return index < 0x840 && (row->access & access) ? row : NULL;
}

static int x2apic_read(struct dbt_vp *vp, uint32_t index, uint64_t *ret_value)
{
	const struct apic_register *row = msr_register(index, X2_R);

	if (index == 0x800 + REG_ICR) {
		*ret_value = vp->apic.icr_low | (uint64_t)vp->apic.icr_high << 32;
		return 0;
	}
	if (!row)
		return -1;
	*ret_value = row->read(vp, index & 0x3f);
	return 0;
}

static int x2apic_write(struct dbt_vp *vp, uint32_t index, uint64_t value)
{
	const struct apic_register *row = msr_register(index, X2_W);
	uint64_t read_only = row && row->write == write_lvt ? LVT_READ_ONLY : 0;

	if (index == 0x800 + REG_ICR) {
		if (value & 0xffffffff & ~(uint64_t)(ICR_BITS | ICR_STATUS))
			return -1;
		vp->apic.icr_low = value & ICR_BITS;
		vp->apic.icr_high = value >> 32;
		send_ipi(vp, vp->apic.icr_low, vp->apic.icr_high);
		return 0;
	}
	if (!row || (value & ~(uint64_t)(row->bits | read_only)))
		return -1;
	row->write(vp, index & 0x3f, value & row->bits);
	return 0;
}

int apic_msr_read(struct dbt_vp *vp, uint32_t index, uint64_t *ret_value)
{
	switch (index) {
	case 0x1b: *ret_value = vp->apic_base; return 0;
	case 0x6e0: *ret_value = apic_timer_deadline(vp); return 0;
	}
	return is_x2apic(vp) && index - 0x800 < 0x100 ? x2apic_read(vp, index, ret_value) : -1;
}

int apic_msr_write(struct dbt_vp *vp, uint32_t index, uint64_t value)
{
	switch (index) {
	case 0x1b: return write_base(vp, value);
	case 0x6e0: apic_timer_set_deadline(vp, value); return 0;
	}
	return is_x2apic(vp) && index - 0x800 < 0x100 ? x2apic_write(vp, index, value) : -1;
}

/* --- whole state, as KVM_GET_LAPIC lays it out --- */

static void put(struct vp_state *state, uint32_t reg, uint32_t value)
{
	__builtin_memcpy(&state->lapic[reg * 16], &value, sizeof(value));
}

static uint32_t get(const struct vp_state *state, uint32_t reg)
{
	uint32_t value;

	__builtin_memcpy(&value, &state->lapic[reg * 16], sizeof(value));
	return value;
}

void apic_get_state(struct dbt_vp *vp, struct vp_state *ret_state)
{
	for (unsigned int i = 0; i < VP_LAPIC_BYTES; i++)
		((volatile uint8_t *)ret_state->lapic)[i] = 0; /* no memset in light code */
	for (unsigned int reg = 0; reg < ARRAY_SIZE(registers); reg++) {
		if (registers[reg].read)
			put(ret_state, reg, registers[reg].read(vp, reg));
	}
	ret_state->apic_base = vp->apic_base;
	ret_state->cr8 = vp->apic.tpr >> 4;
	ret_state->tsc_deadline = apic_timer_deadline(vp);
}

/* Registers whose reserved bits must be clear: all that a guest may write and that keep bits. */
static bool state_is_valid(struct dbt_vp *vp, const struct vp_state *state)
{
	static const uint8_t checked[] = {0x08, 0x0f, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x3e};

	for (unsigned int i = 0; i < ARRAY_SIZE(checked); i++) {
		uint32_t reg = checked[i];
		uint32_t read_only = reg >= REG_LVT && reg < 0x38 ? LVT_READ_ONLY : 0;

		if (get(state, reg) & ~(registers[reg].bits | read_only))
			return false;
	}
	return base_is_valid(vp, state->apic_base & ~APIC_BASE_BSP);
}

static void set_bits(struct apic *apic, const struct vp_state *state)
{
	for (uint32_t i = 0; i < 8; i++) {
		uint32_t legal = i == 0 ? 0xffff0000 : 0xffffffff;

		apic->isr[i] = get(state, 0x10 + i) & legal;
		atomic_store(&apic->tmr[i], get(state, 0x18 + i) & legal);
		atomic_store(&apic->irr[i], get(state, 0x20 + i) & legal);
	}
}

int apic_set_state(struct dbt_vp *vp, const struct vp_state *state)
{
	struct apic *apic = &vp->apic;

	if (!state_is_valid(vp, state))
		return -EINVAL;
	reset_registers(vp);
	store_base(vp, (state->apic_base & ~APIC_BASE_BSP) | (vp->vp.index == 0 ? APIC_BASE_BSP : 0));
	apic->tpr = get(state, 0x08);
	store_word(&apic->ldr, is_x2apic(vp) ? 0 : get(state, 0x0d) & 0xff000000);
	store_word(&apic->dfr, get(state, 0x0e) | 0x0fffffff);
	store_word(&apic->svr, get(state, 0x0f));
	set_bits(apic, state);
	apic->esr = get(state, 0x28) & 0xff;
	apic->icr_low = get(state, 0x30) & ICR_BITS;
	apic->icr_high = get(state, 0x31);
	for (unsigned int i = LVT_TIMER; i <= LVT_ERROR; i++)
		store_word(&apic->lvt[i], get(state, REG_LVT + i - 1) & registers[REG_LVT + i - 1].bits);
	apic->timer_divide = get(state, 0x3e);
	if (state->tsc_deadline)
		apic_timer_set_deadline(vp, state->tsc_deadline);
	else
		apic_timer_resume(vp, get(state, 0x38), get(state, 0x39));
	look_again(vp);
	return 0;
}
