/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.h - vsock connections to the host, from privileged source ports.
 * All sockets are non-blocking and close-on-exec.  Failures leave errno.
 */
#ifndef DOLANIA_GUEST_LINK_H
#define DOLANIA_GUEST_LINK_H

#include <stddef.h>
#include <sys/types.h>

#include "init.h"

/* Starts a connection; returns the socket, or -1. */
int link_open(enum wire_port port) MUST_CHECK;

/* Waits until a started connection stands; 0, or -1. */
int link_wait(int fd) MUST_CHECK;

/* Asks a started connection that poll reported; 0 if it stands, or -1. */
int link_check(int fd) MUST_CHECK;

/* Sends all of it, waiting for credit as long as it takes; 0, or -1. */
int link_send(int fd, const void *data, size_t bytes) MUST_CHECK;

/* Waits for bytes; how many came, 0 at the end of the stream, or -1. */
ssize_t link_recv(int fd, void *data, size_t bytes) MUST_CHECK;

#endif
