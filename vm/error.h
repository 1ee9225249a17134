/*
 * error.h - why a machine could not be made or started, for the user
 */
#ifndef VM_ERROR_H
#define VM_ERROR_H

#include "base.h"

/* Which of the user's inputs is to blame; the front end names the option for it. */
enum vm_blame {
	BLAME_KERNEL,
	BLAME_INITRD,
	BLAME_COMMAND_LINE,
	BLAME_MEMORY,
	BLAME_DEBUG_EXIT,
	BLAME_DRIVE,
	BLAME_DVD,
	BLAME_ENGINE, /* or the host below it */
	BLAME_HOST    /* a resource ran out */
};

/* A sentence that says what is wrong and what to do about it. */
struct vm_error {
	enum vm_blame blame;
	char text[512];
};

/* vm_fail() - fills @error and returns @result, so that a failing function can return it. */
int vm_fail(struct vm_error *error, int result, enum vm_blame blame, const char *format, ...)
	PRINTF_LIKE(4, 5);

#endif
