/*
 * nbd_server.h - a disk offered to other programs over the NBD protocol, on a Unix socket
 *
 * One export, under the empty name, to several clients at a time. What is spoken:
 * docs/protocols/nbd.md. Everything on the loop's thread, the disk's requests through one queue.
 */
#ifndef DISK_NBD_NBD_SERVER_H
#define DISK_NBD_NBD_SERVER_H

#include "disk.h"

struct nbd_server;

struct nbd_options {
	const char *path;	 /* of the socket; NULL: none, see nbd_server_connect() */
	const char *description; /* for people; NULL: none. Copied. */
	bool read_only;		 /* a disk that is read only is so anyway */
};

/*
 * nbd_server_new() - listen
 * @queue, @disk: the caller's, until the server was freed; @queue is on @loop
 * Returns: 0; -errno, also that of unix_listener_open().
 */
int nbd_server_new(struct loop *loop, struct disk_queue *queue, struct disk *disk,
		   const struct nbd_options *options, struct nbd_server **ret_server);

/* Serve a connected stream socket too. Takes @fd, also when it fails: -EUSERS, -ENOMEM. */
int nbd_server_connect(struct nbd_server *server, int fd);

unsigned int nbd_server_clients(const struct nbd_server *server);

/*
 * nbd_server_stop() - take no more connections and requests, finish those that were taken
 * The socket is gone from the file system at the return. @stopped(@ctx) is called once, later, from
 * the loop: no request is in flight then, and each was answered, unless its client did not read for
 * some seconds. Nothing was flushed. Once.
 */
void nbd_server_stop(struct nbd_server *server, void (*stopped)(void *ctx), void *ctx);

/* After stopped(), or from within; or while there is no client. */
void nbd_server_free(struct nbd_server *server);

#endif
