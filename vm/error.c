/*
 * error.c - formats the sentence
 */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>

int vm_fail(struct vm_error *error, int result, enum vm_blame blame, const char *format, ...)
{
	va_list args;

	error->blame = blame;
	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	return result;
}
