/*
 * file.h - reads a file the user named, completely and with a bound
 */
#ifndef VM_FILE_H
#define VM_FILE_H

#include "base.h"

/*
 * file_load() - the whole content of @path in memory of its own, so that a later change of the
 * file cannot reach the guest or us
 * @max_bytes: a larger file is refused before more than that is read
 * @ret_bytes: the caller frees it with free()
 * Returns: 0; -errno of open or read; -EISDIR; -ENODATA empty; -EFBIG; -ENOMEM.
 */
int file_load(const char *path, uint64_t max_bytes, uint8_t **ret_bytes, uint64_t *ret_count);

/* file_error_text() - what a user wants to read for an error of file_load(). */
const char *file_error_text(int error);

#endif
