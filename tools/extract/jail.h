/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jail.h - what the extractor gives up before it reads the first byte.
 *
 * Its caller made the namespaces and the empty root (libdolania/confine.h).
 * Here: no_new_privs, Landlock with the directory as the only place where
 * anything may be made, limits, and a filter of the system calls in jail.c.
 */
#ifndef DOLANIA_EXTRACT_JAIL_H
#define DOLANIA_EXTRACT_JAIL_H

#include <stdint.h>

/* 0, or -1 with *why (a constant text) and errno: nothing may be extracted then. */
int jail_enter(int dir, uint64_t max_file_bytes, const char **why);

#endif
