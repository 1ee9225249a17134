/*
 * bounce.c - accesses that cannot go straight to memory: devices, page crossings
 *
 * The buffer stands for up to 4096 bytes of one or two guest physical pages, which are fixed when
 * the buffer is set up (mmu.bounce_gpa): what happens to the page tables between the exits of one
 * access does not matter any more. It is worked through in segments: as much as is plain memory at
 * once, or a naturally aligned piece of 1 to 8 bytes of a device.
 *
 * Reading: a device piece needs an answer from vp_run()'s caller, so the instruction is abandoned
 * with LEAVE_EXIT and done again; reading_done tells how far the buffer was filled before.
 * Writing: nothing comes back, so bounce.done moves on before each exit, and mmu_finish_bounce()
 * is called until it is through.
 */
#include "mmu_internal.h"

#include <sys/syscall.h>

#include "apic.h"
#include "stats.h"

void bounce_start(struct dbt_vp *vp, uint64_t va, uint32_t bytes, const struct page_entry *first,
		  const struct page_entry *second)
{
	struct mmu *mmu = vp->mmu;
	uint32_t offset = va & (PAGE_BYTES - 1);

	stat_add(vp, BOUNCES, 1);
	vp->bounce.va = va;
	vp->bounce.bytes = bytes;
	vp->bounce.done = 0;
	vp->bounce.write_back = false;
	mmu->bounce_gpa[0] = (first->gpa & ~P_FLAGS) + offset;
	mmu->bounce_gpa[1] = second ? second->gpa & ~P_FLAGS : 0;
	mmu->bounce_split = second ? PAGE_BYTES - offset : bytes;
}

/* The segment at @done: contiguous guest physical bytes in one page. */
static gpa_t segment_gpa(struct dbt_vp *vp, uint32_t done, uint32_t *ret_bytes)
{
	struct mmu *mmu = vp->mmu;

	if (done < mmu->bounce_split) {
		*ret_bytes = mmu->bounce_split - done;
		return mmu->bounce_gpa[0] + done;
	}
	*ret_bytes = vp->bounce.bytes - done;
	return mmu->bounce_gpa[1] + (done - mmu->bounce_split);
}

static uint32_t natural_piece(gpa_t gpa, uint32_t bytes, uint32_t max)
{
	uint32_t piece = max;

	while (piece > bytes || (gpa & (piece - 1)))
		piece /= 2;
	return piece;
}

/* --- reading --- */

static bool take_answer(struct dbt_vp *vp, gpa_t gpa, uint32_t bytes, uint64_t *ret_value)
{
	struct dbt_answer *answer = &vp->answer;

	if (!answer->valid || answer->reason != VP_EXIT_MMIO || answer->write ||
	    answer->address != gpa || answer->bytes != bytes)
		return false;
	answer->valid = false;
	*ret_value = answer->data;
	return true;
}

static void exit_mmio(struct dbt_vp *vp, gpa_t gpa, uint32_t bytes, bool write, uint64_t value)
{
	vp->exit.reason = VP_EXIT_MMIO;
	vp->exit.mmio.gpa = gpa;
	vp->exit.mmio.bytes = bytes;
	vp->exit.mmio.write = write;
	vp->exit.mmio.data = value;
	vp->leave = LEAVE_EXIT;
}

static uint64_t read_apic(struct dbt_vp *vp, gpa_t gpa)
{
	uint32_t offset = gpa & (PAGE_BYTES - 1);

	return apic_mmio_read(vp, offset & ~3u) >> (offset & 3) * 8;
}

/* Reads one device piece into the buffer; returns its size, 0: LEAVE_EXIT. */
static uint32_t gather_device(struct dbt_vp *vp, uint32_t done, gpa_t gpa, uint32_t bytes)
{
	bool apic = apic_owns(vp, gpa);
	uint32_t piece = natural_piece(gpa, bytes, apic ? 4 : 8);
	uint64_t value;

	if (apic) {
		value = read_apic(vp, gpa);
	} else if (!take_answer(vp, gpa, piece, &value)) {
		exit_mmio(vp, gpa, piece, false, ~0ull);
		return 0;
	}
	copy_bytes(vp->bounce.data + done, &value, piece);
	return piece;
}

bool bounce_gather(struct dbt_vp *vp, bool devices)
{
	struct dbt_partition *part = vp_partition(vp);
	struct mmu *mmu = vp->mmu;
	uint32_t done = 0;

	if (mmu->reading_va == vp->bounce.va && mmu->reading_bytes == vp->bounce.bytes)
		done = mmu->reading_done;
	mmu->reading_bytes = 0;
	while (done < vp->bounce.bytes) {
		uint32_t bytes;
		gpa_t gpa = segment_gpa(vp, done, &bytes);
		const void *host = apic_owns(vp, gpa) ? NULL : mmu_gpa_to_host(part, gpa, bytes);

		if (host) {
			copy_bytes(vp->bounce.data + done, host, bytes);
		} else if (devices) {
			bytes = gather_device(vp, done, gpa, bytes);
			if (!bytes) {
				mmu->reading_va = vp->bounce.va;
				mmu->reading_bytes = vp->bounce.bytes;
				mmu->reading_done = done;
				vp->bounce.bytes = 0;
				return false;
			}
		}
		done += bytes;
	}
	return true;
}

/* --- writing --- */

void bounce_write_back(struct dbt_vp *vp)
{
	vp->bounce.done = 0;
	vp->bounce.write_back = true;
}

static void write_apic(struct dbt_vp *vp, gpa_t gpa, uint32_t bytes, uint64_t value)
{
	uint32_t offset = gpa & (PAGE_BYTES - 1);

	if (bytes == 4 && (offset & 15) == 0)
		apic_mmio_write(vp, offset, value); /* all else is undefined: nothing happens */
}

/* An eventfd that waits for this write takes it instead of the caller. */
static bool ring_doorbell(struct dbt_partition *part, gpa_t gpa, uint32_t bytes, uint64_t value)
{
	for (unsigned int i = 0; i < part->doorbell_count; i++) {
		const struct doorbell *bell = &part->doorbells[i];
		uint64_t one = 1;

		if (bell->space != DOORBELL_MMIO || bell->address != gpa ||
		    (bell->bytes && bell->bytes != bytes) || (bell->match && bell->value != value))
			continue;
		raw_syscall(SYS_write, bell->eventfd, (long)&one, sizeof(one), 0, 0, 0);
		return true;
	}
	return false;
}

static void scatter_device(struct dbt_vp *vp, gpa_t gpa, uint32_t bytes)
{
	uint64_t value = 0;

	copy_bytes(&value, vp->bounce.data + vp->bounce.done, bytes);
	if (apic_owns(vp, gpa))
		write_apic(vp, gpa, bytes, value);
	else if (!ring_doorbell(vp_partition(vp), gpa, bytes, value))
		exit_mmio(vp, gpa, bytes, true, value);
}

/* Writes @bytes of the buffer to plain memory; false when there is none. */
static bool scatter_memory(struct dbt_vp *vp, gpa_t gpa, uint32_t bytes)
{
	struct memory_slot *slot = find_slot(vp_partition(vp), gpa);
	_Atomic uint8_t *page_flags;
	uint64_t offset;

	if (!slot || !(slot->access & MAP_GPA_WRITE) || apic_owns(vp, gpa))
		return false;
	offset = gpa - slot->gpa;
	page_flags = &slot->page_flags[offset / PAGE_BYTES];
	if (atomic_load(page_flags) & PAGE_HAS_CODE) {
		stat_add(vp, CODE_PAGE_STORES, 1);
		if (code_write_hook(vp, gpa, bytes) && vp->leave == LEAVE_NONE && !vp->stepping)
			vp->leave = LEAVE_REQUEST; /* the current block may be gone */
	}
	if ((slot->access & MAP_GPA_DIRTY) && !(atomic_load(page_flags) & PAGE_DIRTY))
		atomic_fetch_or(page_flags, PAGE_DIRTY);
	copy_bytes(slot->hva + offset, vp->bounce.data + vp->bounce.done, bytes);
	return true;
}

int mmu_finish_bounce(struct dbt_vp *vp)
{
	if (!vp->bounce.write_back) {
		vp->bounce.bytes = 0;
		return 0;
	}
	while (vp->leave != LEAVE_EXIT && vp->bounce.done < vp->bounce.bytes) {
		uint32_t bytes;
		gpa_t gpa = segment_gpa(vp, vp->bounce.done, &bytes);

		if (!scatter_memory(vp, gpa, bytes)) {
			bytes = natural_piece(gpa, bytes, apic_owns(vp, gpa) ? 4 : 8);
			scatter_device(vp, gpa, bytes);
		}
		vp->bounce.done += bytes;
	}
	if (vp->bounce.done >= vp->bounce.bytes)
		vp->bounce.bytes = vp->bounce.done = 0;
	return vp->leave == LEAVE_EXIT;
}
