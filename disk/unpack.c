/*
 * unpack.c - bounded decompression
 *
 * The output buffer is all that the data can fill: zlib gets exactly it as its room, and zstd
 * frames are unpacked straight into it, without the window of a size that the data choose.
 */
#include "unpack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base.h"
#include "io.h"

static int inflate_whole(z_stream *stream)
{
	int r = inflate(stream, Z_FINISH);

	if (r == Z_MEM_ERROR)
		return -ENOMEM;
	/* Z_BUF_ERROR: more would come, or the end mark is missing; the caller looks at the room.
	 */
	if ((r != Z_STREAM_END && r != Z_BUF_ERROR && r != Z_OK) || stream->avail_out)
		return -EBADMSG;
	return 0;
}

static int unpack_deflate(int window_bits, const uint8_t *packed, size_t packed_bytes, uint8_t *out,
			  size_t bytes)
{
	z_stream stream = {.next_in = (uint8_t *)packed,
			   .avail_in = packed_bytes,
			   .next_out = out,
			   .avail_out = bytes};
	int r = inflateInit2(&stream, window_bits);

	if (r != Z_OK)
		return -ENOMEM;
	r = inflate_whole(&stream);
	inflateEnd(&stream);
	return r;
}

static bool has_zlib_header(const uint8_t *packed, size_t packed_bytes)
{
	return packed_bytes >= 2 && (packed[0] & 0x0f) == Z_DEFLATED &&
	       (packed[0] << 8 | packed[1]) % 31 == 0;
}

/* Frames end before the packed bytes do: those are padded to sectors. */
static int unpack_frames(ZSTD_DCtx *context, const uint8_t *packed, size_t packed_bytes,
			 uint8_t *out, size_t bytes)
{
	size_t made = 0;

	while (made < bytes) {
		size_t frame = ZSTD_findFrameCompressedSize(packed, packed_bytes), r;

		if (ZSTD_isError(frame) || !frame)
			return -EBADMSG;
		r = ZSTD_decompressDCtx(context, out + made, bytes - made, packed, frame);
		if (ZSTD_isError(r))
			return -EBADMSG;
		made += r;
		packed += frame;
		packed_bytes -= frame;
	}
	return 0;
}

static int unpack_zstd(const uint8_t *packed, size_t packed_bytes, uint8_t *out, size_t bytes)
{
	ZSTD_DCtx *context = ZSTD_createDCtx();
	int r;

	if (!context)
		return -ENOMEM;
	r = unpack_frames(context, packed, packed_bytes, out, bytes);
	ZSTD_freeDCtx(context);
	return r;
}

int unpack(enum unpack_method method, const uint8_t *packed, size_t packed_bytes, uint8_t *out,
	   size_t bytes)
{
	if (method == UNPACK_ZSTD)
		return unpack_zstd(packed, packed_bytes, out, bytes);
	return unpack_deflate(method == UNPACK_ZLIB && has_zlib_header(packed, packed_bytes)
				      ? MAX_WBITS
				      : -MAX_WBITS,
			      packed, packed_bytes, out, bytes);
}

/* --- units of files --- */

void unpacker_init(struct unpacker *unpacker)
{
	memset(unpacker, 0, sizeof(*unpacker));
	pthread_mutex_init(&unpacker->lock, NULL);
}

void unpacker_free(struct unpacker *unpacker)
{
	free(unpacker->bytes);
	pthread_mutex_destroy(&unpacker->lock);
}

static int make_room(struct unpacker *unpacker, const struct unpack_unit *unit)
{
	uint8_t *bytes;

	if (unit->bytes > UNPACK_MAX_BYTES || unit->packed_bytes > UNPACK_MAX_PACKED_BYTES)
		return -EBADMSG;
	if (unit->bytes <= unpacker->room)
		return 0;
	bytes = realloc(unpacker->bytes, unit->bytes);
	if (!bytes)
		return -ENOMEM;
	unpacker->bytes = bytes;
	unpacker->room = unit->bytes;
	return 0;
}

static int unpack_unit(struct unpacker *unpacker, const struct unpack_unit *unit)
{
	uint8_t *packed;
	int r = make_room(unpacker, unit);

	if (r < 0)
		return r;
	packed = malloc(MAX(unit->packed_bytes, 1u));
	if (!packed)
		return -ENOMEM;
	r = file_read(unit->fd, unit->offset, packed, unit->packed_bytes);
	if (!r)
		r = unpack(unit->method, packed, unit->packed_bytes, unpacker->bytes, unit->bytes);
	free(packed);
	return r == -ENODATA ? -EBADMSG : r;
}

static bool is_last(const struct unpacker *unpacker, const struct unpack_unit *unit)
{
	return unpacker->last.bytes == unit->bytes && unpacker->last.fd == unit->fd &&
	       unpacker->last.offset == unit->offset &&
	       unpacker->last.packed_bytes == unit->packed_bytes;
}

int unpack_read(struct unpacker *unpacker, const struct unpack_unit *unit, uint32_t within,
		void *bytes, size_t count)
{
	int r = 0;

	if (within > unit->bytes || count > unit->bytes - within)
		return -EBADMSG;
	pthread_mutex_lock(&unpacker->lock);
	if (!is_last(unpacker, unit)) {
		unpacker->last.bytes = 0;
		r = unpack_unit(unpacker, unit);
		if (!r)
			unpacker->last = *unit;
	}
	if (!r)
		memcpy(bytes, unpacker->bytes + within, count);
	pthread_mutex_unlock(&unpacker->lock);
	return r;
}
