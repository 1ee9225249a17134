/*
 * file.c - open once, read to the end
 *
 * The size that fstat() tells is only a first guess at the buffer: pipes have none, and a file
 * may grow or shrink while it is read.
 */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int close_and_return(int fd, int result)
{
	close(fd);
	return result;
}

static int grow(uint8_t **bytes, uint64_t *room, uint64_t wanted)
{
	uint8_t *larger = realloc(*bytes, wanted);

	if (!larger)
		return -ENOMEM;
	*bytes = larger;
	*room = wanted;
	return 0;
}

/* Reads until the end or until more than @max_bytes are there. */
static int read_all(int fd, uint64_t guess, uint64_t max_bytes, uint8_t **bytes, uint64_t *count)
{
	uint64_t room = 0;

	*count = 0;
	for (;;) {
		ssize_t got;
		int r = 0;

		if (*count == room)
			r = grow(bytes, &room, room ? MIN(room * 2, max_bytes + 1) : guess + 1);
		if (r < 0)
			return r;
		got = read(fd, *bytes + *count, room - *count);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			return 0;
		*count += got;
		if (*count > max_bytes)
			return -EFBIG;
	}
}

int file_load(const char *path, uint64_t max_bytes, uint8_t **ret_bytes, uint64_t *ret_count)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t *bytes = NULL;
	struct stat status;
	uint64_t count;
	int r;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &status) < 0)
		return close_and_return(fd, -errno);
	if (S_ISDIR(status.st_mode))
		return close_and_return(fd, -EISDIR);
	if (S_ISREG(status.st_mode) && (uint64_t)status.st_size > max_bytes)
		return close_and_return(fd, -EFBIG);
	r = read_all(fd, S_ISREG(status.st_mode) ? status.st_size : 64 * KIB, max_bytes, &bytes,
		     &count);
	close(fd);
	if (!r && !count)
		r = -ENODATA;
	if (r < 0) {
		free(bytes);
		return r;
	}
	*ret_bytes = bytes;
	*ret_count = count;
	return 0;
}

const char *file_error_text(int error)
{
	switch (error) {
	case -ENODATA: return "the file is empty";
	case -EFBIG: return "the file is larger than the guest's memory can hold";
	default: return strerror(-error);
	}
}
