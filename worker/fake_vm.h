/*
 * fake_vm.h - a machine and a guest that do as a test says
 *
 * Every call of vm.h and ic.h that the control socket makes is written down as a line of text, and
 * answered with ->result. Calls that wait are kept, in order, until fake_finish().
 */
#ifndef WORKER_FAKE_VM_H
#define WORKER_FAKE_VM_H

#include "ic.h"
#include "vm.h"

#define FAKE_MAX_WAITING 64

struct fake_vm {
	bool has_services;
	int result;	 /* of the calls that start something */
	char said[8192]; /* the calls, a line each */
	size_t calls;
	struct fake_waiting {
		ic_done *done;
		ic_kvp_pair *pair;
		void (*removed)(void *ctx);
		void *ctx;
	} waiting[FAKE_MAX_WAITING];
	size_t waiting_count;
	int copy_fd; /* of the last copy, while it waits */
	unsigned int cancelled_copies;
	const char *text; /* strings of the machine's and the guest's */
	struct vm_drive drives[4];
	size_t drive_count;
};
extern struct fake_vm fake;

void fake_start(void);
/* The oldest waiting call ends; a list of pairs has had @pairs of them before. */
void fake_finish(int result, const char *text, size_t pairs);

#endif
