/*
 * vm_internal.h - the state behind vm.h, and what its files call of each other
 *
 * run.c      boots, and what ends one
 * vps.c      a thread per VP; pausing
 * exits.c    what a VP thread does about an exit
 * control.c  what the control socket asks of the running machine
 *
 * Invariants:
 *   1. vm->machine changes on the loop's thread only, while the loop is not running.
 *   2. A VP thread that sees vm->ending does not enter the guest again.
 *   3. While vm->paused is set no VP enters the guest. When all have left it (parked), the guest's
 *      time is stopped: devices, processors, reference time. It is started again before a VP runs.
 */
#ifndef VM_VM_INTERNAL_H
#define VM_VM_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "drives.h"
#include "machine.h"

struct vp_thread {
	struct vm *vm;
	struct vp *vp;
	pthread_t thread;
	struct vp_exit exit;
};

struct vm {
	struct vm_config config;
	struct machine *machine;
	struct vp_thread threads[PARTITION_MAX_VPS];
	unsigned int thread_count;

	struct drives *drives;
	unsigned int boots;
	uint64_t booted_ns;

	pthread_mutex_t lock; /* of all below; the atomics are read without it */
	bool has_result;
	struct vm_result result;
	char crash[320];       /* the guest's last crash report */
	uint64_t crash_ns;     /* when it came, 0: none did */
	pthread_cond_t resume; /* paused or ending changed */
	unsigned int running;  /* VP threads that have not come to their end */
	pthread_cond_t idle;   /* running became 0 */
	unsigned int parked;   /* VP threads that wait for the end of the pause */
	atomic_bool ending, paused;
	struct loop_work all_parked; /* posted when that may be so */
	bool time_stopped;	     /* the loop's thread */
};

/*
 * vm_end_boot() - the first reason ends it; later ones are its consequences
 * Any thread, with the chipset lock held or not.
 */
void vm_end_boot(struct vm *vm, enum vm_outcome outcome, uint32_t value, const char *format, ...)
	PRINTF_LIKE(4, 5);

/* exits.c; on the VP's thread: the answer is in self->exit at the return. */
void vm_handle_exit(struct vp_thread *self);

/* vps.c; on the loop's thread */
void vm_start_vps(struct vm *vm);
/* Cancel them and wait for their threads' end. */
void vm_join_vps(struct vm *vm);
/* What vm->all_parked runs. */
void vm_when_all_parked(struct loop_work *work);
/* Both do nothing when it is so already. The VPs stop soon after the return. */
void vm_pause(struct vm *vm);
void vm_resume(struct vm *vm);

#endif
