/*
 * nbd_internal.h - the parts of the NBD server
 *
 *   server.c      the socket, who is let in, the end
 *   connection.c  one client: its bytes in and out, how much may be under way
 *   handshake.c   what is negotiated: options and their replies
 *   commands.c    requests, checked, to the disk; replies
 *   extents.c     the answer to a block status request
 *   buffers.c     memory for data
 */
#ifndef DISK_NBD_NBD_INTERNAL_H
#define DISK_NBD_NBD_INTERNAL_H

#include "nbd_server.h"
#include "unix_listener.h"
#include "nbd.h"

#define NBD_MAX_CLIENTS	 16u
#define NBD_MAX_REQUESTS 64u /* of one client, from the request to the last byte of its reply */
#define NBD_MAX_PAYLOAD	 (32 * MIB) /* of one request, and of all those of one client together */
#define NBD_MAX_OPTION	 (16 * KIB) /* longer options are refused */
#define NBD_INPUT_BYTES	 (32 * KIB) /* more than an option with its header */
#define NBD_OUTPUT_BYTES (4 * KIB)  /* more than all the replies to one option */
#define NBD_ALLOCATION	 1u	    /* id of the metadata context base:allocation */
#define NBD_MAX_EXTENTS	 1000u	    /* in one block status reply */

/* --- buffers.c --- */

/* Sizes are powers of two, from 4 KiB on; some freed ones of each are kept. */
#define BUFFER_CLASSES 14
struct nbd_buffers {
	void *free[BUFFER_CLASSES];
	size_t kept_bytes;
};

/* What a buffer of so many bytes takes. */
size_t buffer_size(size_t bytes);
void *buffer_get(struct nbd_buffers *buffers, size_t bytes); /* NULL: no memory */
void buffer_put(struct nbd_buffers *buffers, void *buffer, size_t bytes);
void buffers_free(struct nbd_buffers *buffers);

/* --- a request --- */

struct nbd_connection;

struct nbd_slot {
	struct disk_request request;
	struct iovec iov;
	struct nbd_connection *connection;
	struct nbd_slot *next; /* free, held, or behind another reply */
	be64 cookie;
	uint16_t command;
	unsigned int max_extents; /* of BLOCK_STATUS; 0: another command */
	uint8_t *buffer;	  /* NULL: none */
	size_t bytes;		  /* of the buffer that are used */
	/* The reply: a head, then text or the buffer. */
	uint8_t head[64];
	size_t head_bytes;
	const void *tail;
	size_t tail_bytes;
};

/* --- a client --- */

enum nbd_phase {
	NBD_CLIENT_FLAGS,
	NBD_OPTIONS,
	NBD_TRANSMISSION,
	NBD_END /* nothing more is taken */
};

struct nbd_connection {
	struct nbd_server *server;
	struct nbd_connection *next;
	int fd;
	struct loop_source *source;
	uint32_t events;
	struct loop_work work; /* serves it: replies are ready */
	enum nbd_phase phase;
	bool serving;
	bool stalled; /* what comes next in the input has to wait for room */
	bool ended;   /* the client sends nothing more */
	bool broken;  /* and gets nothing more: drop everything */

	/* Negotiated. */
	bool no_zeroes, structured, allocation;

	/* Input. */
	uint8_t input[NBD_INPUT_BYTES];
	size_t input_start, input_end;
	uint64_t skip;		  /* so many bytes that come next are dropped */
	struct nbd_slot *filling; /* the write whose data come next */
	size_t filled;
	uint32_t refused_option; /* was too long: its reply is due when it was skipped */

	/* Output: first what was negotiated, then replies in the order they became ready. */
	uint8_t output[NBD_OUTPUT_BYTES];
	size_t output_bytes;
	struct nbd_slot *replies, **replies_end;
	size_t sent; /* of the first of them */

	struct nbd_slot slots[NBD_MAX_REQUESTS];
	struct nbd_slot *free_slots;
	size_t buffer_bytes;	/* in use, of NBD_MAX_PAYLOAD */
	unsigned int in_flight; /* at the disk, or held */
};

int connection_new(struct nbd_server *server, int fd);
void connection_stop(struct nbd_connection *connection); /* takes nothing more */
void connection_drop(struct nbd_connection *connection); /* and sends nothing more */

/* Within what the client sent and nobody took yet. */
static inline size_t connection_input(const struct nbd_connection *connection)
{
	return connection->input_end - connection->input_start;
}
/* connection_take_slot() - with a buffer; NULL: not now, and @connection is stalled or broken */
struct nbd_slot *connection_take_slot(struct nbd_connection *connection, size_t bytes);
void connection_reply(struct nbd_slot *slot);		 /* its reply is ready */
void connection_fail(struct nbd_connection *connection); /* is broken from now on */

/* --- handshake.c, commands.c --- */

void handshake_greet(struct nbd_connection *connection);
/* Take one thing from the input. False: not there yet, or no room for its answer. */
bool handshake_take(struct nbd_connection *connection);
bool command_take(struct nbd_connection *connection);
/* All data of a write are there. */
void command_filled(struct nbd_slot *slot);
uint16_t transmission_flags(const struct nbd_connection *connection);

/* Descriptors of the range into @extents; returns how many, or -errno. */
int describe_extents(struct disk *disk, uint64_t offset, uint64_t bytes, unsigned int max,
		     struct nbd_extent *extents);

/* --- server.c --- */

struct nbd_server {
	struct loop *loop;
	struct disk_queue *queue;
	struct disk *disk;
	struct disk_info info;
	char *description;
	bool read_only;
	struct unix_listener listener;
	struct loop_source *source;
	struct loop_timer *retry; /* of accepting, when there were no descriptors */
	struct loop_timer *grace; /* of clients that do not read, at the end */
	struct nbd_connection *connections;
	unsigned int connection_count;
	struct nbd_buffers buffers;
	unsigned int at_disk;		   /* requests */
	struct nbd_slot *held, **held_end; /* not yet, see commands.c */
	struct loop_work stop_work;	   /* tells the caller that all is over */
	void (*stopped)(void *ctx);
	void *stopped_ctx;
};

void server_forget(struct nbd_server *server, struct nbd_connection *connection);

#endif
