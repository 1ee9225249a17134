/*
 * storvsp.h - synthetic SCSI and IDE controllers over VMBus
 *
 * A controller is one VMBus offer; it has its own I/O thread (loop_thread) on which its channels
 * and sub-channels run, with one disk_queue. Disks and DVD drives are attached and detached at any
 * time. Facts: wire/storvsc.h, wire/scsi.h.
 */
#ifndef VSP_STORVSP_STORVSP_H
#define VSP_STORVSP_STORVSP_H

#include "disk.h"
#include "vmbus.h"

struct storvsp;

enum storvsp_kind { STORVSP_SCSI, STORVSP_IDE };

struct storvsp_config {
	struct vmbus *bus;
	struct loop *loop; /* the bus' own, the main loop: where calls and callbacks are */
	enum storvsp_kind kind;
	unsigned int number;	      /* SCSI: controller 0..3; IDE: 2 * channel + device */
	struct guid instance;	      /* SCSI only; IDE's is derived from number */
	unsigned int max_subchannels; /* usually VPs - 1 */
	/*
	 * A write could not be done because the host's disk is full (full == true), or can again.
	 * The request waits and is tried again once a second and at storvsp_retry(). Main loop.
	 */
	void (*disk_full)(void *ctx, const char *path, bool full);
	void *ctx;
};

/* Main loop. Returns 0 or -errno. */
int storvsp_new(const struct storvsp_config *config, struct storvsp **ret_storvsp);
/*
 * storvsp_free() - after vmbus_reset() is done, and before vmbus_free(); NULL is taken
 * Closes nothing that was attached.
 */
void storvsp_free(struct storvsp *storvsp);

#define STORVSP_MAX_LUNS 64

struct storvsp_drive {
	struct disk *disk; /* borrowed until detached; DVD: NULL for an empty drive */
	bool dvd;
	bool read_only;
	char serial[37]; /* VPD page 0x80 and the basis of 0x83: text, stable over reboots */
};
/*
 * storvsp_attach() - SCSI: LUN 0..63 on path 0 target 0. IDE: lun is 0.
 * The guest is told (ENUMERATE_BUS). Main loop. Returns 0; -EEXIST; -EINVAL.
 */
int storvsp_attach(struct storvsp *storvsp, unsigned int lun, const struct storvsp_drive *drive);
/*
 * storvsp_detach() - requests in flight are finished, later ones find no drive; the guest is told
 * @done: on the main loop; the disk may be closed then. -ENOENT without it when there is no drive.
 */
int storvsp_detach(struct storvsp *storvsp, unsigned int lun, void (*done)(void *ctx), void *ctx);
/* DVD: change the medium; NULL ejects. @done: the old one is in use no more. -ENOENT, -EINVAL. */
int storvsp_change_medium(struct storvsp *storvsp, unsigned int lun, struct disk *disk,
			  void (*done)(void *ctx), void *ctx);
/* Try waiting writes now. Main loop. */
void storvsp_retry(struct storvsp *storvsp);

struct storvsp_stats {
	uint64_t reads, writes, flushes, discards, errors, read_bytes, written_bytes;
};
void storvsp_get_stats(struct storvsp *storvsp, unsigned int lun, struct storvsp_stats *ret_stats);

#endif
