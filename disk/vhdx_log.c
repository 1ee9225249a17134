/*
 * vhdx_log.c - the log of a VHDX that was not closed properly
 *
 * A ring of entries, each of which says what some pages of the file's metadata should be. An entry
 * counts if its checksum and all that is written in it agree. A sequence of them is a chain, each
 * right behind the one before and with the next number; it is complete if the oldest one that its
 * last entry (the head) still needs (the tail) belongs to it. Of all complete sequences the one
 * with the greatest number is replayed, from its tail to its head.
 *
 * What is replayed is kept as a list of patches into the log's bytes: laid over what is read
 * (vhdx_log_patch()), or written to the file (vhdx_replay()). An entry is exactly as long as its
 * descriptors need, so no entry can lie within another, and looking for them takes linear time.
 *
 * Targets may be anything from the second MiB on but the log itself. Data of the guest are never
 * logged, so a patch to them is harmless: it takes effect when the log is replayed, as the
 * specification has it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crc32c.h"
#include "vhdx_internal.h"

#define MAX_PATCHES    65536u
#define MAX_ZERO_BYTES (1 * GIB) /* in all: more than a table of 64 TiB has */

/* Entries as they were found: by the number of their first sector. */
struct found {
	uint32_t sectors; /* 0: none begins here */
	uint64_t number;
};

struct scan {
	struct image *image;
	struct vhdx_log *log;
	struct found *found;
	uint32_t sectors; /* of the ring */
	struct disk_error *error;
};

struct sequence {
	uint32_t tail, head; /* first sectors of the entries */
	uint64_t number;     /* of the head; 0: none */
};

static const void *sector_at(const struct scan *scan, uint32_t sector)
{
	return scan->log->bytes + (uint64_t)(sector % scan->sectors) * VHDX_LOG_SECTOR;
}

static uint32_t descriptor_sectors(uint32_t descriptors)
{
	if (descriptors <= VHDX_FIRST_DESCRIPTORS)
		return 1;
	return 1 + (descriptors - VHDX_FIRST_DESCRIPTORS + VHDX_MORE_DESCRIPTORS - 1) /
			   VHDX_MORE_DESCRIPTORS;
}

static const struct vhdx_log_descriptor *descriptor_at(const struct scan *scan, uint32_t first,
						       uint32_t index)
{
	index += 2; /* the header takes the place of two */
	return (const struct vhdx_log_descriptor *)sector_at(
		       scan, first + index / VHDX_MORE_DESCRIPTORS) +
	       index % VHDX_MORE_DESCRIPTORS;
}

static bool is_data(const struct vhdx_log_descriptor *descriptor)
{
	return !memcmp(descriptor->signature, VHDX_DATA_SIGNATURE, sizeof(descriptor->signature));
}

/* --- entries --- */

static bool target_is_allowed(const struct vhdx *vhdx, uint64_t offset, uint64_t bytes)
{
	return offset % VHDX_LOG_SECTOR == 0 && bytes % VHDX_LOG_SECTOR == 0 &&
	       offset >= VHDX_UNIT && offset < VHDX_MAX_PLACES * VHDX_UNIT &&
	       bytes <= MAX_ZERO_BYTES &&
	       (offset + bytes <= vhdx->log_offset || offset >= vhdx->log_offset + vhdx->log_bytes);
}

static bool descriptor_is_valid(const struct scan *scan,
				const struct vhdx_log_descriptor *descriptor, uint64_t number)
{
	bool data = is_data(descriptor);

	if (!data &&
	    memcmp(descriptor->signature, VHDX_ZERO_SIGNATURE, sizeof(descriptor->signature)))
		return false;
	return descriptor->sequence_number == number &&
	       target_is_allowed(scan->image->vhdx, descriptor->file_offset,
				 data ? VHDX_LOG_SECTOR : descriptor->zero_length);
}

static bool data_is_valid(const struct vhdx_log_data *data, uint64_t number)
{
	return !memcmp(data->signature, VHDX_DATA_SECTOR_SIGNATURE, sizeof(data->signature)) &&
	       data->sequence_high == number >> 32 && data->sequence_low == (uint32_t)number;
}

/* All of an entry but its checksum. */
static bool parts_are_valid(const struct scan *scan, uint32_t first, uint32_t sectors)
{
	const struct vhdx_log_entry *entry = sector_at(scan, first);
	uint32_t at = descriptor_sectors(entry->descriptor_count);

	for (uint32_t i = 0; i < entry->descriptor_count; i++) {
		const struct vhdx_log_descriptor *descriptor = descriptor_at(scan, first, i);

		if (!descriptor_is_valid(scan, descriptor, entry->sequence_number))
			return false;
		if (!is_data(descriptor))
			continue;
		if (at == sectors ||
		    !data_is_valid(sector_at(scan, first + at), entry->sequence_number))
			return false;
		at++;
	}
	return at == sectors;
}

static bool checksum_is_right(const struct scan *scan, uint32_t first, uint32_t sectors)
{
	const struct vhdx_log_entry *entry = sector_at(scan, first);
	size_t bytes = (size_t)sectors * VHDX_LOG_SECTOR;
	size_t until_end = (size_t)(scan->sectors - first) * VHDX_LOG_SECTOR;
	uint32_t sum;
	uint8_t *copy;

	if (bytes <= until_end)
		return entry->checksum ==
		       crc32c_with_hole(entry, bytes, offsetof(struct vhdx_log_entry, checksum));
	copy = malloc(bytes);
	if (!copy)
		return false;
	memcpy(copy, entry, until_end);
	memcpy(copy + until_end, scan->log->bytes, bytes - until_end);
	sum = crc32c_with_hole(copy, bytes, offsetof(struct vhdx_log_entry, checksum));
	free(copy);
	return sum == entry->checksum;
}

static void find_entry(struct scan *scan, uint32_t first)
{
	const struct vhdx_log_entry *entry = sector_at(scan, first);
	uint32_t sectors = entry->entry_length / VHDX_LOG_SECTOR;

	if (memcmp(entry->signature, VHDX_ENTRY_SIGNATURE, sizeof(entry->signature)) ||
	    entry->entry_length % VHDX_LOG_SECTOR || !sectors || sectors > scan->sectors ||
	    entry->tail % VHDX_LOG_SECTOR || entry->tail >= scan->image->vhdx->log_bytes ||
	    !entry->sequence_number || entry->sequence_number == UINT64_MAX ||
	    !guid_equal(&entry->log_guid, &scan->image->vhdx->header.log_guid) ||
	    entry->descriptor_count > (uint64_t)sectors * VHDX_MORE_DESCRIPTORS ||
	    descriptor_sectors(entry->descriptor_count) > sectors)
		return;
	if (!parts_are_valid(scan, first, sectors) || !checksum_is_right(scan, first, sectors))
		return;
	scan->found[first] = (struct found){sectors, entry->sequence_number};
}

/* --- sequences --- */

/* The longest chain from @first on. Entries are not shared, so all chains together are short. */
static struct sequence follow(const struct scan *scan, uint32_t first)
{
	struct sequence sequence = {.head = first};
	uint32_t at = first, length = 0, tail;
	bool has_tail = false;

	for (;;) {
		const struct found *found = &scan->found[at];
		uint32_t next = (at + found->sectors) % scan->sectors;

		sequence.head = at;
		length += found->sectors;
		if (!scan->found[next].sectors || scan->found[next].number != found->number + 1 ||
		    length + scan->found[next].sectors > scan->sectors)
			break;
		at = next;
	}
	tail = ((const struct vhdx_log_entry *)sector_at(scan, sequence.head))->tail /
	       VHDX_LOG_SECTOR;
	for (at = first;; at = (at + scan->found[at].sectors) % scan->sectors) {
		has_tail |= at == tail;
		if (at == sequence.head)
			break;
	}
	sequence.tail = tail;
	sequence.number = has_tail ? scan->found[sequence.head].number : 0;
	return sequence;
}

/* Does an entry end where this one begins, with the number before? Then it is no chain's first. */
static void mark_followers(const struct scan *scan, uint8_t *follows)
{
	for (uint32_t at = 0; at < scan->sectors; at++) {
		uint32_t next = (at + scan->found[at].sectors) % scan->sectors;

		if (scan->found[at].sectors && scan->found[next].sectors &&
		    scan->found[next].number == scan->found[at].number + 1)
			follows[next] = true;
	}
}

static int find_sequence(struct scan *scan, struct sequence *ret_sequence)
{
	struct sequence best = {};
	uint8_t *follows = calloc(scan->sectors, 1);

	if (!follows)
		return disk_fail(scan->error, -ENOMEM, "%s: no memory for its log",
				 scan->image->path);
	for (uint32_t at = 0; at < scan->sectors; at++)
		find_entry(scan, at);
	mark_followers(scan, follows);
	for (uint32_t at = 0; at < scan->sectors; at++) {
		struct sequence sequence;

		if (!scan->found[at].sectors || follows[at])
			continue;
		sequence = follow(scan, at);
		if (sequence.number > best.number)
			best = sequence;
	}
	free(follows);
	if (!best.number)
		return vhdx_damaged(scan->image, scan->error, scan->image->vhdx->log_offset,
				    "it was not closed properly, and its log has no complete "
				    "sequence of entries");
	*ret_sequence = best;
	return 0;
}

/* --- patches --- */

static int add_patch(struct scan *scan, const struct vhdx_log_descriptor *descriptor,
		     const struct vhdx_log_data *data)
{
	struct vhdx_log *log = scan->log;

	if (log->patch_count == MAX_PATCHES)
		return disk_fail(scan->error, -ENOTSUP, "%s: its log has more than %u parts",
				 scan->image->path, MAX_PATCHES);
	log->zero_bytes += data ? 0 : descriptor->zero_length;
	if (log->zero_bytes > MAX_ZERO_BYTES)
		return disk_fail(scan->error, -ENOTSUP,
				 "%s: its log clears more than 1 GiB, far more than a table has",
				 scan->image->path);
	if (!(log->patch_count & (log->patch_count - 1))) {
		void *patches = reallocarray(log->patches, MAX(log->patch_count * 2, 1u),
					     sizeof(*log->patches));

		if (!patches)
			return disk_fail(scan->error, -ENOMEM, "%s: no memory for its log",
					 scan->image->path);
		log->patches = patches;
	}
	log->patches[log->patch_count++] =
		(struct vhdx_patch){.offset = descriptor->file_offset,
				    .bytes = data ? VHDX_LOG_SECTOR : descriptor->zero_length,
				    .descriptor = descriptor,
				    .data = data};
	return 0;
}

static int take_entry(struct scan *scan, uint32_t first)
{
	const struct vhdx_log_entry *entry = sector_at(scan, first);
	uint32_t at = descriptor_sectors(entry->descriptor_count);
	int r = 0;

	for (uint32_t i = 0; !r && i < entry->descriptor_count; i++) {
		const struct vhdx_log_descriptor *descriptor = descriptor_at(scan, first, i);

		r = add_patch(scan, descriptor,
			      is_data(descriptor) ? sector_at(scan, first + at++) : NULL);
	}
	return r;
}

static int check_lengths(struct scan *scan, const struct vhdx_log_entry *head)
{
	const struct image *image = scan->image;
	uint64_t at = image->vhdx->log_offset + ((const uint8_t *)head - scan->log->bytes);

	if (image->file_bytes < head->flushed_file_offset)
		return vhdx_damaged(image, scan->error, at,
				    "truncated: the file has %" PRIu64
				    " bytes, its log says %" PRIu64,
				    image->file_bytes, head->flushed_file_offset);
	if (head->last_file_offset > VHDX_MAX_PLACES * VHDX_UNIT)
		return vhdx_damaged(image, scan->error, at,
				    "its log wants a file of %" PRIu64 " bytes",
				    head->last_file_offset);
	scan->log->file_bytes = ALIGN_UP(MAX(head->last_file_offset, image->file_bytes), VHDX_UNIT);
	return 0;
}

static int take_sequence(struct scan *scan, const struct sequence *sequence)
{
	int r = check_lengths(scan, sector_at(scan, sequence->head));

	for (uint32_t at = sequence->tail; !r;
	     at = (at + scan->found[at].sectors) % scan->sectors) {
		r = take_entry(scan, at);
		if (at == sequence->head)
			break;
	}
	for (uint32_t i = 0; !r && i < scan->log->patch_count; i++) {
		const struct vhdx_patch *patch = &scan->log->patches[i];

		if (patch->offset + patch->bytes > scan->log->file_bytes)
			r = vhdx_damaged(scan->image, scan->error, scan->image->vhdx->log_offset,
					 "its log writes to byte %" PRIu64
					 ", behind the end of the file",
					 patch->offset);
	}
	return r;
}

static int load(struct scan *scan)
{
	const struct vhdx *vhdx = scan->image->vhdx;
	struct sequence sequence = {};
	int r;

	scan->log->bytes = malloc(vhdx->log_bytes);
	scan->found = calloc(scan->sectors, sizeof(*scan->found));
	if (!scan->log->bytes || !scan->found)
		return disk_fail(scan->error, -ENOMEM, "%s: no memory for its log",
				 scan->image->path);
	r = file_read(scan->image->fd, vhdx->log_offset, scan->log->bytes, vhdx->log_bytes);
	if (r < 0)
		return disk_fail(scan->error, r, "%s: cannot read its log: %s", scan->image->path,
				 strerror(-r));
	r = find_sequence(scan, &sequence);
	return r ? r : take_sequence(scan, &sequence);
}

int vhdx_load_log(struct image *image, struct disk_error *ret_error)
{
	static const struct guid clean;
	struct vhdx *vhdx = image->vhdx;
	struct scan scan = {.image = image,
			    .log = &vhdx->log,
			    .sectors = vhdx->log_bytes / VHDX_LOG_SECTOR,
			    .error = ret_error};
	int r;

	if (guid_equal(&vhdx->header.log_guid, &clean))
		return 0;
	if (vhdx->header.log_version != VHDX_LOG_VERSION)
		return disk_fail(ret_error, -ENOTSUP,
				 "%s: was not closed properly, and its log has version %u; only 0 "
				 "is known",
				 image->path, vhdx->header.log_version);
	r = load(&scan);
	free(scan.found);
	return r;
}

/* --- use --- */

/* The page that a data patch stands for. */
static void make_page(const struct vhdx_patch *patch, uint8_t page[VHDX_LOG_SECTOR])
{
	const struct vhdx_log_descriptor *descriptor = patch->descriptor;

	memcpy(page, descriptor->leading_bytes, sizeof(descriptor->leading_bytes));
	memcpy(page + sizeof(descriptor->leading_bytes), patch->data->bytes,
	       sizeof(patch->data->bytes));
	memcpy(page + VHDX_LOG_SECTOR - sizeof(descriptor->trailing_bytes),
	       descriptor->trailing_bytes, sizeof(descriptor->trailing_bytes));
}

void vhdx_log_patch(const struct vhdx_log *log, uint64_t offset, void *bytes, size_t count)
{
	uint8_t page[VHDX_LOG_SECTOR];

	for (uint32_t i = 0; i < log->patch_count; i++) {
		const struct vhdx_patch *patch = &log->patches[i];
		uint64_t from = MAX(offset, patch->offset);
		uint64_t to = MIN(offset + count, patch->offset + patch->bytes);

		if (from >= to)
			continue;
		if (!patch->data) {
			memset((uint8_t *)bytes + (from - offset), 0, to - from);
			continue;
		}
		make_page(patch, page);
		memcpy((uint8_t *)bytes + (from - offset), page + (from - patch->offset),
		       to - from);
	}
}

int vhdx_replay(struct image *image)
{
	const struct vhdx_log *log = &image->vhdx->log;
	uint8_t page[VHDX_LOG_SECTOR];
	int r = 0;

	if (image->file_bytes < log->file_bytes) {
		if (ftruncate(image->fd, log->file_bytes) < 0)
			return -errno;
		image->file_bytes = log->file_bytes;
	}
	for (uint32_t i = 0; !r && i < log->patch_count; i++) {
		const struct vhdx_patch *patch = &log->patches[i];

		if (patch->data) {
			make_page(patch, page);
			r = file_write(image->fd, patch->offset, page, sizeof(page));
		} else {
			r = file_zero(image->fd, patch->offset, patch->bytes);
		}
	}
	return r;
}

void vhdx_log_free(struct vhdx_log *log)
{
	free(log->bytes);
	free(log->patches);
	*log = (struct vhdx_log){};
}
