/*
 * aml.c - the AML writer
 *
 * Lengths are not known before a package's end, so each is written in the three-byte form and
 * patched; shorter forms are optional. That bounds a package to 1 MiB, far above any buffer here.
 */
#include "aml.h"

#include <string.h>

#define OP_ZERO	   0x00
#define OP_ONE	   0x01
#define OP_NAME	   0x08
#define OP_BYTE	   0x0a
#define OP_WORD	   0x0b
#define OP_DWORD   0x0c
#define OP_STRING  0x0d
#define OP_QWORD   0x0e
#define OP_SCOPE   0x10
#define OP_BUFFER  0x11
#define OP_PACKAGE 0x12
#define OP_EXT	   0x5b
#define OP_DEVICE  0x82

#define LENGTH_BYTES 3

/* Resource descriptors: small ones have tag and length in one byte, large ones a 16-bit length */
#define RESOURCE_IRQ	  0x22 /* two bytes follow: a mask */
#define RESOURCE_IO	  0x47
#define RESOURCE_END	  0x79
#define RESOURCE_MEMORY32 0x86
#define RESOURCE_DWORD	  0x87
#define RESOURCE_WORD	  0x88
#define WINDOW_MEMORY	  0
#define WINDOW_IO	  1
#define WINDOW_BUS	  2
#define WINDOW_FIXED	  0x0c /* minimum and maximum are fixed; producer, positive decode */
#define IO_DECODE_16	  1
#define IO_ENTIRE_RANGE	  3
#define MEMORY_WRITABLE	  1 /* not cacheable */

void aml_bytes(struct aml *aml, const void *bytes, size_t count)
{
	if (aml->overflow || count > aml->bytes - aml->used) {
		aml->overflow = true;
		return;
	}
	memcpy(aml->buffer + aml->used, bytes, count);
	aml->used += count;
}

static void aml_byte(struct aml *aml, uint8_t byte)
{
	aml_bytes(aml, &byte, 1);
}

static void aml_le(struct aml *aml, uint64_t value, size_t count)
{
	aml_bytes(aml, &value, count); /* the host is little-endian */
}

/* --- packages --- */

static struct aml_package begin(struct aml *aml)
{
	struct aml_package package = {aml->used};

	aml_le(aml, 0, LENGTH_BYTES);
	return package;
}

void aml_end(struct aml *aml, struct aml_package package)
{
	size_t length = aml->used - package.length_at;
	uint8_t *at = aml->buffer + package.length_at;

	if (aml->overflow)
		return;
	at[0] = (uint8_t)((LENGTH_BYTES - 1) << 6 | (length & 0x0f));
	at[1] = (uint8_t)(length >> 4);
	at[2] = (uint8_t)(length >> 12);
}

struct aml_package aml_begin_scope(struct aml *aml, const char *name)
{
	struct aml_package package;

	aml_byte(aml, OP_SCOPE);
	package = begin(aml);
	aml_bytes(aml, name, strlen(name));
	if (name[strlen(name) - 1] == '\\')
		aml_byte(aml, OP_ZERO); /* no segments follow the root */
	return package;
}

struct aml_package aml_begin_device(struct aml *aml, const char name[static 4])
{
	struct aml_package package;

	aml_byte(aml, OP_EXT);
	aml_byte(aml, OP_DEVICE);
	package = begin(aml);
	aml_bytes(aml, name, 4);
	return package;
}

/* --- data --- */

static void aml_integer(struct aml *aml, uint64_t value)
{
	static const struct {
		uint64_t most;
		uint8_t op, bytes;
	} forms[] = {{UINT8_MAX, OP_BYTE, 1},
		     {UINT16_MAX, OP_WORD, 2},
		     {UINT32_MAX, OP_DWORD, 4},
		     {UINT64_MAX, OP_QWORD, 8}};
	size_t i = 0;

	if (value <= 1) {
		aml_byte(aml, value ? OP_ONE : OP_ZERO);
		return;
	}
	while (value > forms[i].most)
		i++;
	aml_byte(aml, forms[i].op);
	aml_le(aml, value, forms[i].bytes);
}

static void aml_name(struct aml *aml, const char name[static 4])
{
	aml_byte(aml, OP_NAME);
	aml_bytes(aml, name, 4);
}

void aml_name_integer(struct aml *aml, const char name[static 4], uint64_t value)
{
	aml_name(aml, name);
	aml_integer(aml, value);
}

void aml_name_string(struct aml *aml, const char name[static 4], const char *string)
{
	aml_name(aml, name);
	aml_byte(aml, OP_STRING);
	aml_bytes(aml, string, strlen(string) + 1);
}

static unsigned int hex_digit(char c)
{
	return c <= '9' ? (unsigned int)(c - '0') : (unsigned int)(c - 'A' + 10);
}

/* Five bits a letter, four a digit, the bytes in big-endian order. */
static uint32_t eisa_number(const char id[static 7])
{
	uint32_t number = 0;

	for (unsigned int i = 0; i < 3; i++)
		number = number << 5 | (uint32_t)(id[i] - '@');
	for (unsigned int i = 3; i < 7; i++)
		number = number << 4 | hex_digit(id[i]);
	return __builtin_bswap32(number);
}

void aml_name_eisa_id(struct aml *aml, const char name[static 4], const char eisa_id[static 7])
{
	aml_name_integer(aml, name, eisa_number(eisa_id));
}

void aml_name_integers(struct aml *aml, const char name[static 4], const uint64_t *values,
		       uint8_t count)
{
	struct aml_package package;

	aml_name(aml, name);
	aml_byte(aml, OP_PACKAGE);
	package = begin(aml);
	aml_byte(aml, count);
	for (uint8_t i = 0; i < count; i++)
		aml_integer(aml, values[i]);
	aml_end(aml, package);
}

/* --- resources --- */

struct aml_resources aml_begin_resources(struct aml *aml)
{
	struct aml_resources resources;

	aml_name(aml, "_CRS");
	aml_byte(aml, OP_BUFFER);
	resources.package = begin(aml);
	aml_byte(aml, OP_WORD);
	resources.size_at = aml->used;
	aml_le(aml, 0, 2);
	return resources;
}

void aml_end_resources(struct aml *aml, struct aml_resources resources)
{
	uint16_t size;

	aml_byte(aml, RESOURCE_END);
	aml_byte(aml, 0); /* 0 in place of a checksum: treat as correct */
	if (aml->overflow)
		return;
	size = (uint16_t)(aml->used - resources.size_at - 2);
	memcpy(aml->buffer + resources.size_at, &size, sizeof(size));
	aml_end(aml, resources.package);
}

void aml_io(struct aml *aml, uint16_t base, uint8_t count)
{
	aml_byte(aml, RESOURCE_IO);
	aml_byte(aml, IO_DECODE_16);
	aml_le(aml, base, 2);
	aml_le(aml, base, 2);
	aml_byte(aml, 1); /* alignment */
	aml_byte(aml, count);
}

void aml_irq(struct aml *aml, unsigned int isa_irq)
{
	aml_byte(aml, RESOURCE_IRQ);
	aml_le(aml, BIT(isa_irq), 2);
}

void aml_fixed_memory(struct aml *aml, uint32_t base, uint32_t bytes)
{
	aml_byte(aml, RESOURCE_MEMORY32);
	aml_le(aml, 9, 2);
	aml_byte(aml, MEMORY_WRITABLE);
	aml_le(aml, base, 4);
	aml_le(aml, bytes, 4);
}

/* An address space descriptor: granularity, first, last, translation, length, @width bytes each */
static void window(struct aml *aml, uint8_t tag, uint8_t type, uint8_t type_flags, uint64_t first,
		   uint64_t last, size_t width)
{
	const uint64_t values[] = {0, first, last, 0, last - first + 1};

	aml_byte(aml, tag);
	aml_le(aml, 3 + sizeof(values) / sizeof(values[0]) * width, 2);
	aml_byte(aml, type);
	aml_byte(aml, WINDOW_FIXED);
	aml_byte(aml, type_flags);
	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		aml_le(aml, values[i], width);
}

void aml_bus_window(struct aml *aml, uint8_t first, uint8_t last)
{
	window(aml, RESOURCE_WORD, WINDOW_BUS, 0, first, last, 2);
}

void aml_io_window(struct aml *aml, uint16_t first, uint16_t last)
{
	window(aml, RESOURCE_WORD, WINDOW_IO, IO_ENTIRE_RANGE, first, last, 2);
}

void aml_memory_window(struct aml *aml, uint32_t first, uint32_t last)
{
	window(aml, RESOURCE_DWORD, WINDOW_MEMORY, MEMORY_WRITABLE, first, last, 4);
}
