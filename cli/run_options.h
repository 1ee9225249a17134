/*
 * run_options.h - the commands' options after parsing; commands.c has the rows that fill them
 */
#ifndef CLI_RUN_OPTIONS_H
#define CLI_RUN_OPTIONS_H

#include "command.h"

struct run_options {
	const char *kernel, *append, *accel, *serial, *hypervisor, *control;
	struct option_files initrds, disks, dvds;
	uint64_t memory_bytes;
	struct option_number cpus, debug_exit;
	unsigned int trace;
	bool no_reboot, stats, verbose;
};
static_assert(sizeof(struct run_options) <= COMMAND_OPTIONS_BYTES,
	      "COMMAND_OPTIONS_BYTES is too small");

struct host_options {
	bool json;
};

struct ctl_options {
	struct option_files words; /* the request and what it is about */
	bool json, reboot, hibernate, force, overwrite, create_directories, dvd, read_only, step;
	const char *reason, *pool, *bus, *format;
	struct option_number controller, lun;
};
static_assert(sizeof(struct ctl_options) <= COMMAND_OPTIONS_BYTES,
	      "COMMAND_OPTIONS_BYTES is too small");

struct vhd_options {
	struct option_files files;
	uint64_t bytes, block_bytes, offset, count;
	struct option_number sector;
	const char *format, *source_format, *parent, *progress, *socket;
	bool read_only, json, chain, preallocate, azure, force_shrink, keep, repair;
};
static_assert(sizeof(struct vhd_options) <= COMMAND_OPTIONS_BYTES,
	      "COMMAND_OPTIONS_BYTES is too small");

struct help_options {
	bool man;
};

#endif
