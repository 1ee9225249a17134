/*
 * control.h - a machine's control socket: JSON requests, one a line, answers likewise
 *
 * The protocol is described in docs/control.md. A Unix stream socket, mode 0600; several clients at
 * a time; a request is at most 64 KiB. Clients are not trusted to be well-formed: bad JSON, unknown
 * requests and wrong members are answered with an error, and never stop the machine.
 * Everything runs on the machine's main loop.
 */
#ifndef WORKER_CONTROL_H
#define WORKER_CONTROL_H

#include "loop.h"
#include "vm.h"

struct control;

/*
 * control_new() - listen at @path for @vm's sake; an old socket that nobody listens at is replaced
 * Returns: 0; -EADDRINUSE somebody listens there; -EEXIST it is not a socket; -errno of bind(2).
 */
int control_new(struct loop *loop, const char *path, struct vm *vm, struct control **ret_control);
/*
 * Closes connections, unlinks the socket. NULL is taken. Requests that still wait for the guest end
 * unheard; their callbacks may come later, up to vm_free().
 */
void control_free(struct control *control);

#endif
