/*
 * control_internal.h - the parts of the control socket
 *
 *   control.c   the socket: its path, who connects
 *   client.c    one connection: bytes in and out, how much may wait
 *   lines.c     bytes to lines of bounded length
 *   call.c      a line to a call, its answer back; the calls that wait
 *   requests.c  the requests: their members, what they do
 *
 * All of it on the loop's thread.
 */
#ifndef WORKER_CONTROL_INTERNAL_H
#define WORKER_CONTROL_INTERNAL_H

#include <jansson.h>
#include <sys/types.h>

#include "control.h"
#include "ic.h"
#include "unix_listener.h"

#define MAX_CLIENTS	   16
#define MAX_CALLS	   8	      /* of one client, waiting for the guest */
#define MAX_REQUEST_BYTES  (64 * KIB) /* with its newline */
#define MAX_ANSWER_BYTES   MIB	      /* likewise */
#define OUTPUT_PAUSE_BYTES (64 * KIB) /* so much unread: no more requests are taken */
#define MAX_OUTPUT_BYTES   (MAX_CALLS * MAX_ANSWER_BYTES + 2 * MIB)

struct control {
	struct loop *loop;
	struct vm *vm;
	struct unix_listener listener;
	struct loop_source *source;
	struct loop_timer *retry; /* of accepting, when there were no descriptors */
	struct client *clients;
	unsigned int client_count;
	struct call *calls; /* that wait for something */
};

/* --- lines.c --- */

struct lines {
	char bytes[MAX_REQUEST_BYTES];
	size_t start, end; /* of what is not handed out yet */
	bool discarding;   /* the rest of a line that was too long */
};

/* Room for more bytes, at least one; invalidates lines handed out. Then lines_filled(). */
char *lines_room(struct lines *lines, size_t *ret_bytes);
void lines_filled(struct lines *lines, size_t bytes);
bool lines_ready(const struct lines *lines);
/*
 * lines_next() - the next line, without its newline
 * Returns: 0; -EAGAIN there is none yet; -EMSGSIZE one was longer than a request may be: it and
 * what follows up to its newline are dropped.
 */
int lines_next(struct lines *lines, const char **ret_line, size_t *ret_length);

/* --- client.c --- */

struct client {
	struct control *control;
	struct client *next;
	int fd;
	struct loop_source *source;
	struct lines input;
	int passed_fd; /* a descriptor that came along, for the next request that takes one; -1 */
	char *output;
	size_t output_start, output_end, output_size;
	unsigned int call_count;
	bool ended;   /* sends no more */
	bool broken;  /* cannot be written to: goes away */
	bool serving; /* client_serve() is below on the stack */
};

/* client_new() - serve @fd from now on; takes it over on success. Returns 0 or -errno. */
int client_new(struct control *control, int fd);
/* Its calls go on without it. */
void client_free(struct client *client);
/* client_write() - queue a line; one that cannot be queued breaks the client */
void client_write(struct client *client, const char *line, size_t length);
/* client_serve() - take what lines may be taken, send what may be sent; may free the client */
void client_serve(struct client *client);

/* --- call.c --- */

/* The members of all requests; which of them one has is in its row. Strings live in ->request. */
struct arguments {
	const char *reason, *key, *value, *mac, *path;
	unsigned int kind, pool, bus, format; /* of the words in the row */
	uint64_t controller, lun;
	bool has_lun;
	bool force, overwrite, create_directories, dvd, read_only, step;
};

struct request;
struct call {
	struct control *control; /* NULL: it has gone; the answer is for nobody */
	struct client *client;	 /* NULL likewise */
	struct call *next;
	const struct request *row;
	json_t *request, *id;
	struct arguments arguments;
	struct ic *ic; /* while it starts; a reboot changes them */
	int fd;	       /* the descriptor that came along, or -1 */
	json_t *result;
	size_t result_bytes; /* about; bounded by MAX_ANSWER_BYTES */
	uint64_t copied;
	char text[512]; /* for the answer, when it is an error */
};

#define CALL_WAITS 1 /* what a request's start() returns when call_finish() will be called */

/* call_begin() - do what a line asks for; the answer is written now or later */
void call_begin(struct client *client, const char *line, size_t length);
/* call_finish() - answer and free: the result, or an error with its @text ("": the usual one) */
void call_finish(struct call *call, int result, const char *text);
/* An error answer of no request in particular. */
void call_refuse(struct client *client, const char *code, const char *text);
/* The client has gone: its calls are told, and end unheard. NULL: everybody has. */
void calls_forget(struct control *control, struct client *client);

/* A JSON string of any bytes: what is not UTF-8 shows as '?'. */
json_t *json_text(const char *text);

/* --- requests.c --- */

enum member_type {
	MEMBER_TEXT,   /* const char * */
	MEMBER_PATH,   /* likewise; absolute */
	MEMBER_FLAG,   /* bool */
	MEMBER_NUMBER, /* uint64_t, up to max */
	MEMBER_CHOICE  /* unsigned int: which of the words; the first when it is not given */
};

struct member {
	const char *name;
	enum member_type type;
	size_t offset; /* in struct arguments */
	bool required;
	uint64_t max;
	const char *const *words;
	size_t given_offset; /* of a bool that says it was there; 0: none */
};

struct request {
	const char *name;
	bool asks_guest; /* needs its services: ->ic is there while it starts */
	bool takes_fd;
	const struct member *members; /* ends with name == NULL; NULL: none */
	/* 0: done, with call->result if there is one; CALL_WAITS; -errno, with call->text or "" */
	int (*start)(struct call *call);
	/* While it waits, the client has gone. May be NULL; must not finish the call. */
	void (*abandoned)(struct call *call);
};
/* Ends with name == NULL. */
extern const struct request request_table[];

#endif
