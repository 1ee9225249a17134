/*
 * crc32c.h - the Castagnoli checksum: all ones before and after, reflected
 */
#ifndef DISK_CRC32C_H
#define DISK_CRC32C_H

#include "base.h"

/* Of @count bytes, of which the four at @hole count as zeros: the checksum's own place. */
uint32_t crc32c_with_hole(const void *bytes, size_t count, size_t hole);

#endif
