/*
 * base.h - the small things every folder uses: byte order, bounds, cleanup
 *
 * Pure macros and inline functions; no state, no system calls.
 */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n) (1ull << (n))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define ALIGN_DOWN(x, a) ((x) & ~((typeof(x))(a)-1))
#define ALIGN_UP(x, a) ALIGN_DOWN((x) + (a)-1, a)
#define IS_ALIGNED(x, a) (((x) & ((typeof(x))(a)-1)) == 0)
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* Release a local at the end of its scope; TAKE() hands it to the caller instead. */
#define _cleanup_(fn) __attribute__((cleanup(fn)))
#define TAKE(ptr)                                                                                  \
	({                                                                                         \
		typeof(ptr) taken_ = (ptr);                                                        \
		(ptr) = NULL;                                                                      \
		taken_;                                                                            \
	})

/* Wire formats: sizes and offsets are checked where the struct is declared. */
#define WIRE_SIZE(type, bytes) static_assert(sizeof(type) == (bytes), #type " has the wrong size")
#define WIRE_AT(type, member, offset)                                                              \
	static_assert(offsetof(type, member) == (offset), #type "." #member " is misplaced")

/* Little-endian fields of wire structs; the host is x86-64, so these only document. */
typedef uint16_t le16;
typedef uint32_t le32;
typedef uint64_t le64;

/* Guest physical address. */
typedef uint64_t gpa_t;

#define KIB 1024ull
#define MIB (1024ull * KIB)
#define GIB (1024ull * MIB)
#define PAGE_BYTES 4096ull

#endif
