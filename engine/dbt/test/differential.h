/*
 * differential.h - the same machine code run natively and in the engine
 *
 * Both sides start from the same registers, vector state and memory, at the same addresses, and
 * stop at the first exception; the code under test ends in INT3. Guest code may read and write the
 * data pages, of which one is read-only; beside them nothing is mapped. Pages that are neighbours
 * in virtual memory are not neighbours in the guest's physical memory.
 */
#ifndef DBT_TEST_DIFFERENTIAL_H
#define DBT_TEST_DIFFERENTIAL_H

#include "partition.h"

/* Guest virtual = host virtual addresses, below 2 GiB so that disp32 and 32-bit code reach them. */
#define CODE_VA	       0x10000000ull
#define DATA_VA	       0x20000000ull
#define CODE_BYTES     (64 * PAGE_BYTES)
#define DATA_PAGES     5
#define DATA_BYTES     (DATA_PAGES * PAGE_BYTES)
#define READ_ONLY_PAGE 3		/* of the data pages */
#define XSAVE_COMPARED (512 + 64 + 256) /* legacy region, header, YMM */

struct machine_state {
	uint64_t gpr[VP_GPR_COUNT];
	uint64_t rip, rflags, gs_base;
	bool code32;	/* runs in a 32-bit code segment (compatibility mode) */
	uint8_t vector; /* exception that ended the run ... */
	uint32_t error; /* ... its error code, or 0 */
	uint64_t cr2;	/* after a page fault */
	uint8_t xsave[4096] __attribute__((aligned(64)));
	uint8_t data[DATA_BYTES];
};

struct differential;

int differential_new(struct differential **ret_differential);
void differential_free(struct differential *differential);

/*
 * differential_next() - where code of up to @bytes will be placed next, nothing having run there
 * @before_page_end: as many bytes before the end of a page; 0: anywhere
 */
uint64_t differential_next(struct differential *differential, size_t bytes,
			   unsigned int before_page_end);
/* Puts @code at what differential_next() returned last. */
void differential_place(struct differential *differential, const uint8_t *code, size_t bytes);

/* Run from *state natively, or in the engine; *state becomes the result. 0 or -errno. */
int differential_native(struct differential *differential, struct machine_state *state);
int differential_engine(struct differential *differential, struct machine_state *state);

/* Returns NULL when equal, otherwise what differs first, in words (static buffer). */
const char *differential_compare(const struct machine_state *native,
				 const struct machine_state *engine, uint64_t flags_compared);

#endif
