/*
 * buffers.c - memory for requests' data: some of what was freed is kept for the next request
 */
#include <stdlib.h>

#include "nbd_internal.h"

#define SMALLEST (4 * KIB)
#define MAX_KEPT (64 * MIB)

static unsigned int class_of(size_t bytes)
{
	unsigned int class = 0;

	while ((SMALLEST << class) < bytes)
		class ++;
	assert(class < BUFFER_CLASSES);
	return class;
}

size_t buffer_size(size_t bytes)
{
	return bytes ? SMALLEST << class_of(bytes) : 0;
}

void *buffer_get(struct nbd_buffers *buffers, size_t bytes)
{
	void **kept = &buffers->free[class_of(bytes)], *buffer = *kept;

	if (!buffer)
		return malloc(buffer_size(bytes));
	*kept = *(void **)buffer;
	buffers->kept_bytes -= buffer_size(bytes);
	return buffer;
}

void buffer_put(struct nbd_buffers *buffers, void *buffer, size_t bytes)
{
	void **kept;

	if (!buffer)
		return;
	if (buffers->kept_bytes + buffer_size(bytes) > MAX_KEPT) {
		free(buffer);
		return;
	}
	kept = &buffers->free[class_of(bytes)];
	*(void **)buffer = *kept;
	*kept = buffer;
	buffers->kept_bytes += buffer_size(bytes);
}

void buffers_free(struct nbd_buffers *buffers)
{
	for (unsigned int i = 0; i < BUFFER_CLASSES; i++) {
		while (buffers->free[i]) {
			void *buffer = buffers->free[i];

			buffers->free[i] = *(void **)buffer;
			free(buffer);
		}
	}
}
