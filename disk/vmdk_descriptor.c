/*
 * vmdk_descriptor.c - the text that says what a VMware disk consists of
 *
 * Lines: `key = value`, comments, and extents: `ACCESS SECTORS TYPE "FILE" OFFSET`. Nobody wrote
 * down what else may stand there, so lines that are neither are passed over; what is taken from the
 * text is bounded and checked. Of a key that is there twice the first counts.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "disk_internal.h"
#include "vmdk_image.h"

#define MAX_VALUE_BYTES 1024u

struct span {
	const char *text;
	size_t bytes;
};

struct parser {
	struct vmdk_descriptor *descriptor;
	const char *path;
	struct disk_error *error;
	unsigned int line;
	bool has_version, has_cid, has_parent_cid;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static struct span trim(struct span span)
{
	while (span.bytes && is_blank(*span.text)) {
		span.text++;
		span.bytes--;
	}
	while (span.bytes && is_blank(span.text[span.bytes - 1]))
		span.bytes--;
	return span;
}

/* Takes the first line off @rest. */
static struct span take_line(struct span *rest)
{
	const char *end = memchr(rest->text, '\n', rest->bytes);
	struct span line = {rest->text, end ? (size_t)(end - rest->text) : rest->bytes};
	size_t taken = line.bytes + (end != NULL);

	rest->text += taken;
	rest->bytes -= taken;
	return trim(line);
}

static bool equals(struct span span, const char *word)
{
	return span.bytes == strlen(word) && !strncasecmp(span.text, word, span.bytes);
}

bool vmdk_is_descriptor(const char *text, size_t bytes)
{
	static const char cookie[] = VMDK_DESCRIPTOR_COOKIE;
	struct span rest = {text, bytes};

	while (rest.bytes) {
		struct span line = take_line(&rest);

		if (line.bytes >= strlen(cookie) && !strncasecmp(line.text, cookie, strlen(cookie)))
			return true;
		if (line.bytes && line.text[0] != '#')
			return false;
	}
	return false;
}

/* --- values --- */

static int refuse(const struct parser *parser, int error, const char *what, struct span found)
{
	char shown[64];
	size_t bytes = MIN(found.bytes, sizeof(shown) - 1);

	for (size_t i = 0; i < bytes; i++)
		shown[i] = isprint((unsigned char)found.text[i]) ? found.text[i] : '?';
	shown[bytes] = 0;
	return disk_fail(parser->error, error, "%s: line %u of its descriptor: %s: \"%s\"",
			 parser->path, parser->line, what, shown);
}

static struct span unquote(struct span span)
{
	if (span.bytes >= 2 && span.text[0] == '"' && span.text[span.bytes - 1] == '"')
		return (struct span){span.text + 1, span.bytes - 2};
	return span;
}

/* Digits of @base only, the whole of @span; no more than @max. */
static bool number(struct span span, unsigned int base, uint64_t max, uint64_t *ret_value)
{
	uint64_t value = 0;

	if (!span.bytes)
		return false;
	for (size_t i = 0; i < span.bytes; i++) {
		int c = tolower((unsigned char)span.text[i]);
		unsigned int digit = isdigit(c) ? c - '0' : isxdigit(c) ? c - 'a' + 10 : 99;

		if (digit >= base || digit > max || value > (max - digit) / base)
			return false;
		value = value * base + digit;
	}
	*ret_value = value;
	return true;
}

/* Text without control characters: these would reach a terminal, and no file's name has any. */
static int take_text(struct parser *parser, struct span value, char **text)
{
	if (!value.bytes || value.bytes > MAX_VALUE_BYTES)
		return refuse(parser, -EBADMSG, "an empty or endless value", value);
	for (size_t i = 0; i < value.bytes; i++) {
		if (iscntrl((unsigned char)value.text[i]))
			return refuse(parser, -EBADMSG, "control characters", value);
	}
	*text = strndup(value.text, value.bytes);
	return *text ? 0 : disk_fail(parser->error, -ENOMEM, "%s: no memory", parser->path);
}

static int take_text_once(struct parser *parser, struct span value, char **text)
{
	return *text || !value.bytes ? 0 : take_text(parser, value, text);
}

static int take_id(struct parser *parser, struct span value, bool *has, uint32_t *id)
{
	uint64_t found;

	if (*has)
		return 0;
	if (!number(value, 16, UINT32_MAX, &found))
		return refuse(parser, -EBADMSG, "no content id of 8 hexadecimal digits", value);
	*has = true;
	*id = found;
	return 0;
}

static int take_version(struct parser *parser, struct span value)
{
	uint64_t found;

	if (parser->has_version)
		return 0;
	if (!number(value, 10, 3, &found) || !found)
		return refuse(parser, -ENOTSUP, "a version that is not known (1 to 3 are)", value);
	parser->has_version = true;
	parser->descriptor->version = found;
	return 0;
}

/* A hint: what is no geometry is none. */
static uint32_t geometry(struct span value, uint32_t max)
{
	uint64_t found;

	return number(value, 10, max, &found) ? found : 0;
}

static int take_value(struct parser *parser, struct span key, struct span value)
{
	struct vmdk_descriptor *descriptor = parser->descriptor;

	if (equals(key, "version"))
		return take_version(parser, value);
	if (equals(key, "CID"))
		return take_id(parser, value, &parser->has_cid, &descriptor->cid);
	if (equals(key, "parentCID"))
		return take_id(parser, value, &parser->has_parent_cid, &descriptor->parent_cid);
	if (equals(key, "createType"))
		return take_text_once(parser, value, &descriptor->create_type);
	if (equals(key, "parentFileNameHint"))
		return take_text_once(parser, value, &descriptor->parent_hint);
	if (equals(key, "ddb.adapterType"))
		return take_text_once(parser, value, &descriptor->adapter_type);
	if (equals(key, "ddb.geometry.cylinders"))
		descriptor->cylinders = geometry(value, UINT16_MAX);
	else if (equals(key, "ddb.geometry.heads"))
		descriptor->heads = geometry(value, UINT8_MAX);
	else if (equals(key, "ddb.geometry.sectors"))
		descriptor->sectors = geometry(value, UINT8_MAX);
	else if (key.bytes >= 11 && !strncasecmp(key.text, "encryption.", 11))
		return refuse(parser, -ENOTSUP, "the disk is encrypted", key);
	return 0;
}

/* --- extents --- */

static const struct {
	const char *name;
	enum vmdk_extent_type type;
	const char *refused; /* why */
} extent_types[] = {
	{"FLAT", VMDK_EXTENT_FLAT, NULL},
	{"SPARSE", VMDK_EXTENT_SPARSE, NULL},
	{"ZERO", VMDK_EXTENT_ZERO, NULL},
	{"VMFS", VMDK_EXTENT_FLAT, NULL},
	{"VMFSSPARSE", 0, "a snapshot of ESX (vmfsSparse); consolidate the snapshots there first"},
	{"SESPARSE", 0, "a snapshot of ESX (seSparse); consolidate the snapshots there first"},
	{"VMFSRDM", 0, "the mapping of a device of ESX, which is not in the file"},
	{"VMFSRAW", 0, "a device of ESX, which is not in the file"},
};

static struct span take_word(struct span *rest)
{
	struct span word = *rest;

	word.bytes = 0;
	while (word.bytes < rest->bytes && !is_blank(rest->text[word.bytes]))
		word.bytes++;
	rest->text += word.bytes;
	rest->bytes -= word.bytes;
	*rest = trim(*rest);
	return word;
}

/* The name in quotes, which may contain blanks. */
static bool take_quoted(struct span *rest, struct span *ret_name)
{
	const char *end;

	if (!rest->bytes || rest->text[0] != '"')
		return false;
	end = memchr(rest->text + 1, '"', rest->bytes - 1);
	if (!end)
		return false;
	*ret_name = (struct span){rest->text + 1, end - rest->text - 1};
	rest->bytes -= end + 1 - rest->text;
	rest->text = end + 1;
	*rest = trim(*rest);
	return true;
}

static int take_type(struct parser *parser, struct span word, struct vmdk_extent_line *extent)
{
	for (size_t i = 0; i < ARRAY_SIZE(extent_types); i++) {
		if (!equals(word, extent_types[i].name))
			continue;
		if (extent_types[i].refused)
			return refuse(parser, -ENOTSUP, extent_types[i].refused, word);
		extent->type = extent_types[i].type;
		return 0;
	}
	return refuse(parser, -ENOTSUP, "an extent of a type that is not known", word);
}

static int take_file(struct parser *parser, struct span rest, struct vmdk_extent_line *extent)
{
	struct span name, word;

	if (extent->type == VMDK_EXTENT_ZERO)
		return 0;
	if (!take_quoted(&rest, &name))
		return refuse(parser, -EBADMSG, "an extent without a file in quotes", rest);
	word = take_word(&rest);
	/* Partitions of devices have an identifier behind the offset. */
	if (word.bytes && !number(word, 10, VMDK_MAX_SECTORS, &extent->offset))
		return refuse(parser, -EBADMSG, "an offset that is no number of sectors", word);
	if (extent->type == VMDK_EXTENT_SPARSE && extent->offset)
		return refuse(parser, -EBADMSG, "a sparse extent with an offset", word);
	return take_text(parser, name, &extent->file);
}

static int parse_extent(struct parser *parser, struct span rest, struct vmdk_extent_line *extent)
{
	struct span access = take_word(&rest), word = take_word(&rest);
	int r;

	if (equals(access, "NOACCESS"))
		return refuse(parser, -ENOTSUP, "an extent that nobody may read", access);
	if (!number(word, 10, VMDK_MAX_SECTORS, &extent->sectors) || !extent->sectors)
		return refuse(parser, -EBADMSG, "a size that is no number of sectors", word);
	word = take_word(&rest);
	r = take_type(parser, word, extent);
	return r ? r : take_file(parser, rest, extent);
}

static int add_extent(struct parser *parser, struct span line)
{
	struct vmdk_descriptor *descriptor = parser->descriptor;
	struct vmdk_extent_line *extents, *extent;
	int r;

	if (descriptor->extent_count == VMDK_MAX_EXTENTS)
		return disk_fail(parser->error, -ENOTSUP,
				 "%s: its descriptor names more than %u extents", parser->path,
				 VMDK_MAX_EXTENTS);
	extents = reallocarray(descriptor->extents, descriptor->extent_count + 1, sizeof(*extents));
	if (!extents)
		return disk_fail(parser->error, -ENOMEM, "%s: no memory", parser->path);
	descriptor->extents = extents;
	extent = &extents[descriptor->extent_count++];
	*extent = (struct vmdk_extent_line){.line = parser->line};
	r = parse_extent(parser, line, extent);
	if (r < 0)
		return r;
	/* No overflow: no more than 4096 times VMDK_MAX_SECTORS. */
	descriptor->total_sectors += extent->sectors;
	return 0;
}

static bool is_extent(struct span line)
{
	struct span word = take_word(&line);

	return equals(word, "RW") || equals(word, "RDONLY") || equals(word, "NOACCESS");
}

/* --- the whole --- */

static int parse_line(struct parser *parser, struct span line)
{
	const char *sign;
	size_t key;

	if (!line.bytes || line.text[0] == '#')
		return 0;
	if (is_extent(line))
		return add_extent(parser, line);
	sign = memchr(line.text, '=', line.bytes);
	if (!sign)
		return 0;
	key = sign - line.text;
	return take_value(parser, trim((struct span){line.text, key}),
			  unquote(trim((struct span){sign + 1, line.bytes - key - 1})));
}

/* What is missing makes it no descriptor; what VMware's kinds of snapshots have, no readable one.
 */
static int check_whole(const struct parser *parser)
{
	const struct vmdk_descriptor *descriptor = parser->descriptor;

	if (!parser->has_version || !parser->has_cid)
		return disk_fail(parser->error, -EBADMSG,
				 "%s: damaged: its descriptor has no version or no CID",
				 parser->path);
	if (!descriptor->extent_count)
		return disk_fail(parser->error, -EBADMSG,
				 "%s: damaged: its descriptor names no extents", parser->path);
	if (descriptor->parent_cid != VMDK_NO_PARENT && !descriptor->parent_hint)
		return disk_fail(parser->error, -EBADMSG,
				 "%s: damaged: a snapshot (parentCID %08" PRIx32
				 ") that does not name its parent",
				 parser->path, descriptor->parent_cid);
	return 0;
}

int vmdk_descriptor_parse(const char *text, size_t bytes, const char *path,
			  struct vmdk_descriptor *ret_descriptor, struct disk_error *ret_error)
{
	struct vmdk_descriptor descriptor = {.parent_cid = VMDK_NO_PARENT};
	struct parser parser = {.descriptor = &descriptor, .path = path, .error = ret_error};
	struct span rest = {text, strnlen(text, bytes)};
	int r = 0;

	while (!r && rest.bytes) {
		parser.line++;
		r = parse_line(&parser, take_line(&rest));
	}
	if (!r)
		r = check_whole(&parser);
	if (r < 0) {
		vmdk_descriptor_free(&descriptor);
		return r;
	}
	*ret_descriptor = descriptor;
	return 0;
}

void vmdk_descriptor_free(struct vmdk_descriptor *descriptor)
{
	for (unsigned int i = 0; i < descriptor->extent_count; i++)
		free(descriptor->extents[i].file);
	free(descriptor->extents);
	free(descriptor->create_type);
	free(descriptor->parent_hint);
	free(descriptor->adapter_type);
	*descriptor = (struct vmdk_descriptor){};
}
