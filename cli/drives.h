/*
 * drives.h - the values of --disk and --dvd
 */
#ifndef CLI_DRIVES_H
#define CLI_DRIVES_H

#include "vm.h"

/*
 * drive_parse() - "FILE[,bus=scsi|ide][,controller=N][,lun=N][,read-only][,format=FORMAT]"
 * @text: a comma in the file's name is written twice
 * @taken: the places of the drives so far; without lun=, the first free one is chosen
 * @ret_drive: its path is the caller's to free()
 * Returns: 0; -EINVAL with a reason for the user in @reason.
 */
int drive_parse(const char *text, bool dvd, const struct vm_drive *taken, size_t taken_count,
		struct vm_drive *ret_drive, char reason[static 128]);

#endif
