/*
 * mmu.h - guest virtual and physical memory: page walks, TLBs, accesses from helpers
 *
 * All of this is light code (see vp.h) on the VP thread unless said otherwise.
 */
#ifndef DBT_MMU_H
#define DBT_MMU_H

#include "partition_dbt.h"

#define ACCESS_READ  1u
#define ACCESS_WRITE 2u
#define ACCESS_EXECUTE 4u
#define ACCESS_SUPERVISOR 8u /* implicit system access (descriptor tables, TSS) at any CPL */
#define ACCESS_USER 16u      /* as if at CPL 3 */

int mmu_vp_create(struct dbt_vp *vp); /* allocates vp->mmu; heavy; 0 or -ENOMEM */
void mmu_vp_destroy(struct dbt_vp *vp);

/*
 * mmu_access() - the slow path of an access by translated code, at vp's CPL and AC
 * @bytes: 1..4096; @access: ACCESS_READ, ACCESS_WRITE or both
 * Returns: host address through which the instruction may access all @bytes once (memory itself,
 *          or vp->bounce.data); NULL: the instruction must be abandoned with nothing done, and
 *          vp->exception is raised, or vp->leave is LEAVE_EXIT (MMIO read), or vp->step_once is
 *          set (do it again as a MODE_STEP block, because something must follow it: MMIO, APIC or
 *          page-crossing store; store into translated code, whose blocks are gone then).
 */
void *mmu_access(struct dbt_vp *vp, uint64_t va, uint32_t bytes, uint32_t access);

/*
 * mmu_finish_bounce() - after a MODE_STEP block: carry out what the bounce buffer holds
 * To be called while vp->bounce.bytes is not 0; clear that instead when the block was abandoned.
 * Returns 0; 1 when vp->leave is LEAVE_EXIT (an MMIO write, or an EOI that the APIC reports; call
 * again after it, until 0; with LEAVE_EXIT still set it does nothing and returns 1).
 */
int mmu_finish_bounce(struct dbt_vp *vp);

/*
 * mmu_read(), mmu_write() - memory access by helpers, any alignment, up to 64 bytes
 * Returns: 0 done; -1 abandon the instruction (vp->exception raised, or LEAVE_EXIT for an MMIO
 *          read that will be restarted: mmu_read consumes vp->answer then);
 *          1 (mmu_write only) done or accepted, but vp->leave is set (an MMIO write or EOI exit,
 *          LEAVE_REQUEST after a store into translated code): finish the instruction, then
 *          return CPU_DONE_LEAVE. mmu_write either faults with nothing written or writes all.
 */
int mmu_read(struct dbt_vp *vp, uint64_t va, void *buffer, uint32_t bytes, uint32_t access);
int mmu_write(struct dbt_vp *vp, uint64_t va, const void *buffer, uint32_t bytes, uint32_t access);

/*
 * mmu_host_span() - direct access for string instructions and XSAVE
 * Returns the host address of @va and in *ret_bytes how many bytes from it on (up to the end of the
 * page, or more when contiguous) may be accessed; NULL when it faults, is not plain memory or holds
 * code: then nothing is raised, and the caller goes element by element with mmu_read/mmu_write.
 */
void *mmu_host_span(struct dbt_vp *vp, uint64_t va, uint32_t access, uint64_t *ret_bytes);

/*
 * mmu_fetch_page() - translate the page of an instruction fetch at vp's CPL
 * Returns 0 with *ret_gpa and *ret_host (both of va itself, good up to the page's end); -1: exception
 * raised (#PF with I/D bit, #GP for a non-canonical address, #UD for a fetch from outside memory).
 */
int mmu_fetch_page(struct dbt_vp *vp, uint64_t va, gpa_t *ret_gpa, const uint8_t **ret_host);

/*
 * Flushes; each also drops what the jump caches may have learned from those translations.
 * mmu_flush_all() must also follow when registers were replaced as a whole (state set, reset) or
 * the APIC page moved: it looks at CR0, CR3, CR4 and EFER anew.
 */
void mmu_flush_all(struct dbt_vp *vp);                 /* also global pages */
void mmu_flush_non_global(struct dbt_vp *vp);          /* MOV CR3 without PCID */
void mmu_switch_cr3(struct dbt_vp *vp, bool keep);     /* after vp->cr3 changed; @keep: PCID with bit 63 */
void mmu_flush_page(struct dbt_vp *vp, uint64_t va);   /* INVLPG */
void mmu_flush_pcid(struct dbt_vp *vp, uint32_t pcid, bool one_page, uint64_t va); /* INVPCID 0, 1 */
void mmu_mode_changed(struct dbt_vp *vp, uint64_t old_cr0, uint64_t old_cr4, uint64_t old_efer);

/* mmu_protect_code() - drop write tags of a page in this VP's TLBs (the page got PAGE_HAS_CODE). */
void mmu_protect_code(struct dbt_vp *vp, gpa_t page);

/* mmu_note_jump() - the jump cache entry at @entry was filled for entry->va (for flushes by log). */
void mmu_note_jump(struct dbt_vp *vp, struct jump_cache_entry *entry);
/* Empties all jump caches. */
void mmu_flush_jumps(struct dbt_vp *vp);

/* Guest physical access for the walker and others; 0, or -1 when it is not plain memory. */
void *mmu_gpa_to_host(struct dbt_partition *part, gpa_t gpa, uint32_t bytes);

/*
 * code_write_hook() - a store is about to hit [gpa, gpa + bytes) in a page with PAGE_HAS_CODE.
 * Implemented by the code cache; light. Returns true when blocks were (or must be) invalidated, so
 * the current block must not go on after the store; false when no translated byte is touched.
 */
bool code_write_hook(struct dbt_vp *vp, gpa_t gpa, uint32_t bytes);

#endif
