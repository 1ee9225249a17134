/*
 * vectors.c - the caller's vectors: which of them a piece of a request uses
 *
 * Bytes of a request are counted from its start, across its vectors. A piece takes vectors as they
 * are if it begins and ends with them, else copies into the operation.
 */
#include <errno.h>
#include <string.h>

#include "disk_internal.h"

#define MAX_IOVECS 1024

static bool has_vectors(const struct disk_request *request)
{
	return request->op == DISK_READ || request->op == DISK_WRITE;
}

int vectors_check(const struct disk_request *request)
{
	uint64_t sum = 0;

	if (!has_vectors(request))
		return 0;
	for (int i = 0; i < request->iov_count; i++) {
		if (request->iov[i].iov_len > request->bytes - sum)
			return -EINVAL;
		sum += request->iov[i].iov_len;
	}
	return sum == request->bytes ? 0 : -EINVAL;
}

void vectors_advance(const struct disk_request *request, struct vector_place *place, uint64_t bytes)
{
	if (!has_vectors(request))
		return;
	while (bytes) {
		uint64_t left = request->iov[place->index].iov_len - place->within;

		if (bytes < left) {
			place->within += bytes;
			return;
		}
		bytes -= left;
		place->index++;
		place->within = 0;
	}
}

/* Vectors for what lies from @iov + @at on; where they do not fit, the piece goes on later. */
static void copy_vectors(struct disk_io *io, const struct iovec *iov, uint64_t at, uint64_t bytes)
{
	io->iov = io->own_iov;
	for (io->iov_count = 0; bytes && io->iov_count < IO_OWN_IOVECS; iov++, at = 0) {
		size_t part = MIN(iov->iov_len - at, bytes);

		if (!part)
			continue;
		io->own_iov[io->iov_count++] = (struct iovec){(char *)iov->iov_base + at, part};
		bytes -= part;
	}
}

void vectors_set(struct disk_io *io, const struct disk_request *request, struct vector_place place)
{
	const struct iovec *iov = &request->iov[place.index];
	uint64_t sum = 0;
	int count = 0;

	while (sum < io->bytes && count < MAX_IOVECS)
		sum += iov[count++].iov_len;
	if (!place.within && sum == io->bytes) {
		io->iov = iov;
		io->iov_count = count;
		return;
	}
	copy_vectors(io, iov, place.within, io->bytes);
}

static const struct iovec *vector_at(const struct disk_request *request, uint64_t *at)
{
	const struct iovec *iov = request->iov;

	for (; *at >= iov->iov_len; iov++)
		*at -= iov->iov_len;
	return iov;
}

void vectors_set_rest(struct disk_io *io, const struct disk_request *request)
{
	uint64_t at = io->at + io->moved;
	const struct iovec *iov = vector_at(request, &at);

	copy_vectors(io, iov, at, io->bytes - io->moved);
}

void vectors_fill(const struct disk_request *request, uint64_t at, const void *from, uint64_t bytes)
{
	const struct iovec *iov = vector_at(request, &at);

	for (; bytes; iov++, at = 0) {
		uint64_t part = MIN(iov->iov_len - at, bytes);

		if (from)
			memcpy((char *)iov->iov_base + at, from, part);
		else
			memset((char *)iov->iov_base + at, 0, part);
		from = from ? (const char *)from + part : NULL;
		bytes -= part;
	}
}

void vectors_set_zeros(struct disk_io *io)
{
	static const uint8_t zeros[64 * 1024];
	uint64_t bytes = io->bytes - io->moved;

	io->iov = io->own_iov;
	for (io->iov_count = 0; bytes && io->iov_count < IO_OWN_IOVECS; io->iov_count++) {
		size_t part = MIN(bytes, sizeof(zeros));

		io->own_iov[io->iov_count] = (struct iovec){(void *)zeros, part};
		bytes -= part;
	}
}
