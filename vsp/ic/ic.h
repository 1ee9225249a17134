/*
 * ic.h - integration services: heartbeat, shutdown, time synchronisation, KVP, VSS, file copy
 *
 * Each is a VMBus pipe channel with version negotiation; all run on the main loop, and so do the
 * calls and callbacks here. A request to the guest that gets no answer ends with -ETIMEDOUT; a
 * service that the guest has not opened, or whose daemon does not run, with -ENOTCONN; a second
 * request while one is pending with -EBUSY; a refusal of the guest with -EREMOTEIO and its code
 * in the text. Facts: wire/ic.h.
 */
#ifndef VSP_IC_IC_H
#define VSP_IC_IC_H

#include "vmbus.h"

struct ic;

struct ic_config {
	struct vmbus *bus;
	struct loop *loop;
	/* Reference time of the partition, 100 ns (for time sync samples). */
	uint64_t (*reference_time)(void *ctx);
	void *ctx;
};

/* ic_new() - offers all six. Returns 0 or -errno. */
int ic_new(const struct ic_config *config, struct ic **ret_ic);
void ic_free(struct ic *ic); /* after vmbus_reset() is done */

enum ic_service { IC_HEARTBEAT, IC_SHUTDOWN, IC_TIMESYNC, IC_KVP, IC_VSS, IC_FCOPY, IC_SERVICE_COUNT };

struct ic_status {
	const char *name; /* "heartbeat" */
	bool open;	  /* the guest opened the channel and negotiated */
	uint16_t framework[2], message[2]; /* versions, major and minor */
};
void ic_get_status(const struct ic *ic, struct ic_status status[IC_SERVICE_COUNT]);

/* Heartbeat: asked for every two seconds. */
struct ic_heartbeat {
	enum { IC_HEARTBEAT_NO_CONTACT, IC_HEARTBEAT_OK, IC_HEARTBEAT_LOST } state;
	uint64_t sequence;
	uint64_t age_ns;		/* since the last answer; 0 without one */
	uint32_t application_state;	/* 0 unknown, 1 fine, 2 critical; newer guests */
};
void ic_get_heartbeat(const struct ic *ic, struct ic_heartbeat *ret_heartbeat);

/* @result: 0 or -errno as above; @text: a sentence, "" when there is nothing to say */
typedef void ic_done(void *ctx, int result, const char *text);

enum ic_shutdown_kind { IC_SHUTDOWN_POWER_OFF, IC_SHUTDOWN_REBOOT, IC_SHUTDOWN_HIBERNATE };
/* Done when the guest has accepted; whether it powers off is seen at the machine. */
int ic_shutdown(struct ic *ic, enum ic_shutdown_kind kind, bool force, const char *reason,
		ic_done *done, void *ctx);

/* Time: the guest is set right when it opens the service, every 5 s sampled; @step: now, by force. */
int ic_sync_time(struct ic *ic, bool step);

/* KVP. Pools as Hyper-V numbers them. */
enum ic_kvp_pool { IC_KVP_EXTERNAL, IC_KVP_GUEST, IC_KVP_AUTO, IC_KVP_AUTO_EXTERNAL };
/* One value, or the whole pool one pair a call; the last call has key NULL and the result. */
typedef void ic_kvp_pair(void *ctx, int result, const char *key, const char *value);
int ic_kvp_get(struct ic *ic, enum ic_kvp_pool pool, const char *key, ic_kvp_pair *pair, void *ctx);
int ic_kvp_enumerate(struct ic *ic, enum ic_kvp_pool pool, ic_kvp_pair *pair, void *ctx);
int ic_kvp_set(struct ic *ic, enum ic_kvp_pool pool, const char *key, const char *value,
	       ic_done *done, void *ctx);
int ic_kvp_delete(struct ic *ic, enum ic_kvp_pool pool, const char *key, ic_done *done, void *ctx);
/* Addresses of the adapter with this MAC ("00:15:5d:..."); one pair each: "ipv4", "ipv6", "gateway", "dns", "dhcp". */
int ic_kvp_get_ip(struct ic *ic, const char *mac, ic_kvp_pair *pair, void *ctx);

/* VSS: freeze until ic_thaw(); thawed by itself after 60 s. */
int ic_freeze(struct ic *ic, ic_done *done, void *ctx);
int ic_thaw(struct ic *ic, ic_done *done, void *ctx);

/* File copy, host to guest. @fd: read from its position to the end; borrowed until done. */
struct ic_copy {
	int fd;
	const char *guest_path; /* absolute, '/' */
	bool overwrite, create_directories;
	void (*progress)(void *ctx, uint64_t bytes);
};
int ic_copy_file(struct ic *ic, const struct ic_copy *copy, ic_done *done, void *ctx);

#endif
