/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exits.c - the exit reasons of the run loop: its table, as the compiler sees it.
 * The table is private to loop.c, so this is that file with one function more.
 */
#include "vmm/loop.c"	/* NOLINT */

#include <stdio.h>

void facts_exits(void);

void facts_exits(void)
{
	for (size_t i = 0; i < sizeof(exit_table) / sizeof(exit_table[0]); i++)
		printf("exit %u\n", exit_table[i].reason);
}
