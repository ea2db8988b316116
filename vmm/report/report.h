/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.h - the page a VMM and its supervisor share, and nothing else between them.
 *
 * The supervisor makes one sealed memfd ("shared"), of REPORT_SHARED_BYTES:
 *
 *   offset 0                  struct report (one page)
 *   offset REPORT_RING_OFF    one ring of REPORT_RING_BYTES for each guest-to-
 *                             host stream: stdout, stderr, out (in that order)
 *
 * The VMM writes counters here while it runs and its verdict at the end; the
 * supervisor reads it after the VMM process is gone (or for progress, torn
 * values accepted).  It outlives a SIGKILL of the VMM.  The supervisor treats
 * every value as hostile: numbers are bounded, enums are checked.
 *
 * Bytes the guest sent that the host pipe did not take yet lie in a ring; at
 * the end `ring[i].head - ring[i].tail` bytes (free-running counters, modulo
 * REPORT_RING_BYTES is the place) are left for the supervisor to deliver after
 * it has drained the pipe.
 *
 * Notices: the VMM writes one byte to its notice pipe when `phase` changes and
 * when an event above S0 is new, so that the supervisor can tell at once; losing one is
 * harmless.
 */
#ifndef DOLANIA_REPORT_REPORT_H
#define DOLANIA_REPORT_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/wire.h"

#define REPORT_MAGIC 0x31505256414c4f44ull	/* "DOLAVRP1" */
enum {
	REPORT_PAGE_BYTES = 8192,
	REPORT_RING_BYTES = 256 * 1024,
	REPORT_RINGS = 3,		/* stdout, stderr, out */
	REPORT_RING_OFF = REPORT_PAGE_BYTES,
	REPORT_SHARED_BYTES = REPORT_PAGE_BYTES + REPORT_RINGS * REPORT_RING_BYTES,
	REPORT_LOG_BYTES = 4096,	/* tail of the guest's kernel log */
	REPORT_DETAIL_BYTES = 256,
	REPORT_EVENTS = 24,		/* a place for every kind, before and after ready */
	REPORT_DEVICES = 5,		/* bus slots: vsock, then the disks */
	REPORT_DISKS = REPORT_DEVICES - 1,
};

/*
 * The wall limit counts from REPORT_STARTED.  Before it the guest has these times: from the VMM's
 * start to REPORT_READY, and from there to REPORT_STARTED (the wall limit, if that is longer).
 */
#define REPORT_BOOT_NS 120000000000ull
#define REPORT_INIT_NS 20000000000ull

enum report_phase {
	REPORT_SETUP = 0,	/* building the machine */
	REPORT_BOOT = 1,	/* guest code runs */
	REPORT_READY = 2,	/* init asked for the job */
	REPORT_STARTED = 3,	/* the script runs */
	REPORT_ENDED = 4,	/* no guest instruction runs any more; `end` is valid */
	REPORT_DISCARDED = 5,	/* guest memory is overwritten; the VMM exits next */
};

enum report_end {
	REPORT_END_NONE = 0,	/* the VMM did not get to say: it was killed or it crashed */
	REPORT_END_GUEST_EXIT,	/* WIRE_EXIT came: `exit_frame` is valid */
	REPORT_END_WALL_LIMIT,
	REPORT_END_CPU_LIMIT,
	REPORT_END_CANCELLED,	/* SIGTERM from the supervisor, or the supervisor died */
	REPORT_END_GUEST_PANIC,	/* KVM_EXIT_SHUTDOWN: `log` holds the kernel log's tail */
	REPORT_END_PROTOCOL_VIOLATION,	/* `violation` says where */
	REPORT_END_HOST_UNSUPPORTED,	/* KVM lacks something, or cannot run the guest: `detail` */
	REPORT_END_HOST_IO,	/* a host file failed: `detail`, `host_errno` */
	REPORT_END_HOST_OOM,	/* no memory on the host: `detail` */
	REPORT_END_BOOT_FAILED,	/* kernel or initrd unusable, or no ready in time: `detail` */
	REPORT_END_BOOT_LIMIT,	/* the script did not start within REPORT_BOOT_NS */
	REPORT_END_USAGE,	/* the VMM was called with nonsense: `detail` */
	REPORT_END_COUNT,
};

/* Userspace exits by kind. */
enum report_exit {
	REPORT_EXIT_MMIO_VSOCK,	/* virtio-mmio window of the vsock device */
	REPORT_EXIT_MMIO_BLK,	/* windows of the disks */
	REPORT_EXIT_MMIO_IOAPIC,
	REPORT_EXIT_MMIO_UNMAPPED,
	REPORT_EXIT_IO_UNMAPPED,
	REPORT_EXIT_IO_RAM,	/* 2 MiB of RAM are about to be used */
	REPORT_EXIT_INTR,	/* a host signal */
	REPORT_EXIT_MSR,
	REPORT_EXIT_OTHER,
	REPORT_EXITS,
};

struct report_event {		/* see DESIGN §4, events S0-S4 */
	uint32_t severity;	/* 0..4 */
	uint32_t kind;		/* enum report_event_kind */
	uint64_t count;
	uint64_t first_value;	/* the first address, port, MSR, ... */
};
enum report_event_kind {
	REPORT_EV_NONE = 0,
	REPORT_EV_UNMAPPED_MMIO,
	REPORT_EV_UNMAPPED_IO,
	REPORT_EV_MSR,
	REPORT_EV_RING,		/* malformed ring */
	REPORT_EV_VSOCK,	/* CID spoof, credit violation, ... */
	REPORT_EV_VSOCK_REFUSED,	/* connection to a port not offered, or from an unprivileged port */
	REPORT_EV_SHUTDOWN,
	REPORT_EV_MSR_SWEEP,	/* denied MSR after denied MSR, after ready */
	REPORT_EV_EXIT_STORM,	/* exits that move nothing, thousands a second, after ready */
	REPORT_EV_STUCK,	/* KVM cannot go on from what the guest did: exit reason or suberror */
	REPORT_EV_BUS_LOCK,	/* VMX: an atomic access over two cache lines locked the bus */
	REPORT_EV_NOTIFY,	/* VMX: the guest blocked all events for a whole notify window */
	REPORT_EV_UNMAPPED_SWEEP,	/* so many unmapped accesses that KVM's tables for them grow */
	/* what the supervisor adds */
	REPORT_EV_GUEST_OOM,
	REPORT_EV_KERNEL_OOPS,	/* in the guest's kernel log */
	REPORT_EV_VMM_FAULT,	/* value: the signal */
	REPORT_EV_KINDS,
};

/* What reached a device of the guest, whatever came of it. */
struct report_device {
	uint64_t accesses;	/* to its window */
	uint64_t kicks;		/* QueueNotify */
	uint64_t chains;	/* descriptor chains taken, whole and checked */
};

struct report_violation {	/* evidence of a protocol violation */
	uint32_t slot;		/* bus slot of the device */
	uint32_t queue;
	uint32_t index;		/* ring index or descriptor index */
	uint32_t rule;		/* enum violation_rule of virtio/queue.h */
	uint64_t value;		/* the offending value */
	char name[16];		/* of the rule, NUL-terminated */
};

struct report_ring { uint64_t head, tail; };	/* free-running byte counts */

struct report {
	uint64_t magic;
	uint32_t phase;		/* enum report_phase */
	uint32_t end;		/* enum report_end */
	int32_t host_errno;
	/* CLOCK_MONOTONIC ns of the phases; 0 = not reached */
	uint64_t t_start, t_boot, t_ready, t_started, t_ended, t_discarded;
	uint64_t deadline;	/* CLOCK_MONOTONIC ns of the limit on time that ended the run, 0 = none */
	uint64_t vcpu_ns;	/* thread CPU time spent since the limits were armed */
	uint64_t exits[REPORT_EXITS];
	uint64_t bytes_in[WIRE_PORTS], bytes_out[WIRE_PORTS];	/* host->guest, guest->host */
	uint64_t disk_read_bytes[REPORT_DISKS], disk_write_bytes[REPORT_DISKS];
	uint64_t ram_bytes;	/* of the guest */
	uint64_t touched_bytes;	/* guest RAM that held pages at the end */
	uint64_t wiped_bytes;	/* of it, and of the VMM's buffers, overwritten by the VMM */
	uint64_t wipe_ns;
	uint32_t vcpu_cleared;	/* registers and FPU state in KVM, too */
	uint32_t reserved;
	struct report_ring ring[REPORT_RINGS];
	struct report_device device[REPORT_DEVICES];
	struct report_violation violation;
	struct wire_frame exit_frame;	/* as the guest sent it */
	struct report_event event[REPORT_EVENTS];
	uint32_t log_bytes;	/* valid bytes of `log` */
	uint32_t locked;	/* guest RAM and this memfd cannot be swapped */
	char detail[REPORT_DETAIL_BYTES];	/* host-made text, NUL-terminated */
	char log[REPORT_LOG_BYTES];	/* guest-made bytes: escape before showing */
};
_Static_assert(sizeof(struct report) <= REPORT_PAGE_BYTES, "the report fits its pages");

/* The VMM's side (report.c).  None of these fails: a report never stops a run. */
struct report_writer {
	struct report *page;	/* in the shared memfd */
	int notice_fd;		/* -1 none */
	bool alone;		/* the supervisor is gone: nobody reads the page any more, or wipes it */
};
void report_start(struct report_writer *w, struct report *page, int notice_fd);
void report_phase(struct report_writer *w, enum report_phase phase);
/* The verdict: the first one stays.  `detail` is a constant text of ours. */
void report_verdict(struct report_writer *w, enum report_end end, int host_errno, const char *detail);
void report_event(struct report_writer *w, unsigned severity, enum report_event_kind kind, uint64_t value);
uint64_t report_now_ns(void);	/* CLOCK_MONOTONIC */

/* Exit status of dolania-vmm: 0 when `end` is valid, else a line on stderr and: */
enum { REPORT_STATUS_OK = 0, REPORT_STATUS_FAILED = 1 };

#endif
