/*
 * unix_listener.h - a listening Unix stream socket at a path of the file system
 *
 * The socket's file has mode 0600 from its first moment, so the kernel lets in the user who made
 * it, and root, and nobody else. A file left behind by a process that died refuses connections: it
 * is replaced. Two processes that start on the same stale file at the same instant may both think
 * so; the later one gets the path.
 */
#ifndef BASE_UNIX_LISTENER_H
#define BASE_UNIX_LISTENER_H

#include <sys/types.h>

struct unix_listener {
	int fd; /* non-blocking */
	char *path;
	dev_t device; /* of the socket at the path, so that no other is unlinked */
	ino_t inode;
};

/*
 * unix_listener_open() - make the socket and listen
 * Returns: 0; -EADDRINUSE: somebody listens there; -EEXIST: a file that is no socket;
 *          -ENAMETOOLONG: more than 107 bytes; other -errno. Then *listener is as after a close.
 */
int unix_listener_open(struct unix_listener *listener, const char *path);

/* Closes, and removes the path if it is still this socket. Zeroed, opened or closed before. */
void unix_listener_close(struct unix_listener *listener);

#endif
