/* SPDX-License-Identifier: Apache-2.0 */
/* ours.h - is this text one that a run wrote?  The whole of it counts: its first words are anybody's. */
#ifndef DOLANIA_OURS_H
#define DOLANIA_OURS_H

#include <stdbool.h>
#include <stddef.h>

/* A result in JSON. */
bool ours_result(const char *text, size_t bytes);
/* What --meta writes. `text` is a string of `bytes` bytes. */
bool ours_meta(const char *text, size_t bytes);

#endif
