/*
 * image_fixture.h - for tests of formats that are read: a folder of files made by hand or by
 * qemu-img
 */
#ifndef DISK_IMAGE_FIXTURE_H
#define DISK_IMAGE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "disk_internal.h"

extern struct disk_error fixture_error; /* of the last open */

/* A folder of its own for each test; the names below are of files in it. */
int fixture_set_up(void **state);
int fixture_tear_down(void **state);
const char *fixture_path(const char *name); /* valid for eight calls */

/* In the folder; fails the test when the command does. */
void fixture_run(const char *format, ...) PRINTF_LIKE(1, 2);

void fixture_write(const char *name, uint64_t offset, const void *bytes, size_t count);
void fixture_read(const char *name, uint64_t offset, void *bytes, size_t count);
void fixture_text(const char *name, const char *format, ...) PRINTF_LIKE(2, 3);
uint64_t fixture_length(const char *name);
void fixture_truncate(const char *name, uint64_t bytes);

/* fixture_open() - read-only, raw not allowed; what disk_open() returns, and its sentence above */
int fixture_open(const char *name, struct disk **ret_disk);
struct disk *fixture_open_well(const char *name); /* fails the test when it does not open */
/* Fails the test unless opening it fails with @error, says why, and names the file. */
void fixture_refuse(const char *name, int error);

/*
 * fixture_compare() - is the disk the file @raw, byte by byte?
 * Read from start to end, then at random places and lengths; the extents have to agree, too. Where
 * the file is shorter than the disk, the rest is zeros.
 */
void fixture_compare(const char *name, const char *raw);

bool fixture_is_filled(const uint8_t *bytes, size_t count, char c);

/*
 * fixture_check_units() - is every unit of the disk's start filled with its character?
 * @contents: a character for each unit; @bad: bit n: reading unit n fails, as damage does
 */
void fixture_check_units(const char *name, const char *contents, unsigned int count,
			 size_t unit_bytes, unsigned int bad);

#define FIXTURE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

#endif
