/*
 * ic.h - integration services: heartbeat, shutdown, time synchronisation, KVP, VSS, file copy
 *
 * Each is a VMBus pipe channel with version negotiation; all run on the main loop, and so do the
 * calls and callbacks here. A request to the guest that gets no answer ends with -ETIMEDOUT; a
 * service that the guest has not opened, or whose daemon does not run, with -ENOTCONN; a second
 * request while one is pending with -EBUSY; a refusal of the guest with -EREMOTEIO and its code
 * in the text; an answer that makes no sense with -EPROTO; what the guest's version of the service
 * lacks with -ENOTSUP; a message larger than the guest's ring with -EMSGSIZE.
 *
 * A call that returns 0 ends with exactly one callback that has the result, never within the call;
 * one that returns -errno has none. A callback may make the next call, but not ic_free().
 * Strings are UTF-8 (-EILSEQ otherwise) and borrowed for the call or the callback only. Those from
 * the guest are any characters but NUL: escape them before a terminal sees them.
 * Facts: wire/ic_protocol.h.
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
/* After vmbus_reset() is done and before vmbus_free(). NULL is taken. */
void ic_free(struct ic *ic);

enum ic_service {
	IC_HEARTBEAT,
	IC_SHUTDOWN,
	IC_TIMESYNC,
	IC_KVP,
	IC_VSS,
	IC_FCOPY,
	IC_SERVICE_COUNT
};

struct ic_status {
	const char *name;		   /* "heartbeat" */
	bool open;			   /* the guest opened the channel and negotiated */
	uint16_t framework[2], message[2]; /* versions, major and minor */
};
void ic_get_status(const struct ic *ic, struct ic_status status[IC_SERVICE_COUNT]);

/* Heartbeat: asked for every two seconds. */
struct ic_heartbeat {
	enum { IC_HEARTBEAT_NO_CONTACT, IC_HEARTBEAT_OK, IC_HEARTBEAT_LOST } state;
	uint64_t sequence;
	uint64_t age_ns;	    /* since the last answer; 0 without one */
	uint32_t application_state; /* 0 unknown, 1 fine, 2 critical; newer guests */
};
void ic_get_heartbeat(const struct ic *ic, struct ic_heartbeat *ret_heartbeat);

/* @result: 0 or -errno as above; @text: a sentence, "" when there is nothing to say. May be NULL.
 */
typedef void ic_done(void *ctx, int result, const char *text);

enum ic_shutdown_kind { IC_SHUTDOWN_POWER_OFF, IC_SHUTDOWN_REBOOT, IC_SHUTDOWN_HIBERNATE };
/*
 * Done when the guest has accepted; whether it powers off is seen at the machine. Hibernation needs
 * a guest that knows it (-ENOTSUP). @reason: for the guest's log, cut to 1023 bytes; or NULL.
 */
int ic_shutdown(struct ic *ic, enum ic_shutdown_kind kind, bool force, const char *reason,
		ic_done *done, void *ctx);

/*
 * Time: the guest is set right when it opens the service and when the host's clock steps, and gets
 * a sample every 5 s for its own discipline. This sends one now; @step: the guest sets its clock.
 * -ENOTCONN. While an answer is outstanding it is sent right after that.
 */
int ic_sync_time(struct ic *ic, bool step);

/* KVP. Pools as Hyper-V numbers them. */
enum ic_kvp_pool { IC_KVP_EXTERNAL, IC_KVP_GUEST, IC_KVP_AUTO, IC_KVP_AUTO_EXTERNAL };
/*
 * One value, or the whole pool one pair a call; the last call has key NULL, the result, and as
 * value a sentence. A pool ends with -E2BIG after 4096 pairs. Numbers come as decimal text.
 * ic_kvp_get() walks the pool, too (Linux answers the direct question with an empty string);
 * -ENOENT when it is not there. Keys have at most 255 characters, values 1023: -E2BIG. Setting and
 * deleting: a key that is not there, or is too long for the guest, is its refusal.
 */
typedef void ic_kvp_pair(void *ctx, int result, const char *key, const char *value);
int ic_kvp_get(struct ic *ic, enum ic_kvp_pool pool, const char *key, ic_kvp_pair *pair, void *ctx);
int ic_kvp_enumerate(struct ic *ic, enum ic_kvp_pool pool, ic_kvp_pair *pair, void *ctx);
int ic_kvp_set(struct ic *ic, enum ic_kvp_pool pool, const char *key, const char *value,
	       ic_done *done, void *ctx);
int ic_kvp_delete(struct ic *ic, enum ic_kvp_pool pool, const char *key, ic_done *done, void *ctx);
/*
 * Addresses of the adapter with this MAC ("00:15:5d:...", either case, else -EINVAL); one pair
 * each: "ipv4", "ipv6", "netmask", "gateway", "dns", "dhcp" ("yes" or "no"). From version 4.0 on.
 */
int ic_kvp_get_ip(struct ic *ic, const char *mac, ic_kvp_pair *pair, void *ctx);

/*
 * VSS: freeze until ic_thaw(); thawed by itself IC_FREEZE_SECONDS after ic_freeze() was done.
 * ic_thaw() - -EALREADY: not frozen, or not any more: what was read since is no clean snapshot.
 * ic_keep_frozen() - the seconds count from now on. -EALREADY likewise.
 */
#define IC_FREEZE_SECONDS 60
int ic_freeze(struct ic *ic, ic_done *done, void *ctx);
int ic_keep_frozen(struct ic *ic);
int ic_thaw(struct ic *ic, ic_done *done, void *ctx);

/*
 * File copy, host to guest. @fd: a regular file (else -EINVAL), read from its position to the end
 * it has now; borrowed until done. A copy that fails or is cancelled leaves no file in the guest.
 */
struct ic_copy {
	int fd;
	const char *
		guest_path; /* absolute, '/'; -EINVAL, -ENAMETOOLONG (260 bytes for folder, name) */
	bool overwrite, create_directories;
	void (*progress)(void *ctx, uint64_t bytes); /* the guest has so many; may be NULL */
};
int ic_copy_file(struct ic *ic, const struct ic_copy *copy, ic_done *done, void *ctx);
/* The copy ends with -ECANCELED, soon, unless its end is near. -ENOENT: there is none. */
int ic_cancel_copy(struct ic *ic);

#endif
