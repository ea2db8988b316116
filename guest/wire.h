/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire.h - what crosses the wall between host and guest over virtio-vsock.
 *
 * The guest connects, never the host.  Every port is a host port (CID 2), and
 * a connection is accepted only from a privileged source port (< 1024), which
 * init can bind and the script cannot.  Each port takes one connection a boot.
 *
 *   port          direction      carries
 *   WIRE_CONTROL  host -> guest  one struct wire_job and what follows it, then nothing
 *                 guest -> host  struct wire_frame, fixed size, numbers only
 *   WIRE_STDIN    host -> guest  bytes; end of stream is SHUTDOWN(SEND)
 *   WIRE_STDOUT   guest -> host  bytes
 *   WIRE_STDERR   guest -> host  bytes
 *   WIRE_OUT      guest -> host  the archive of /out, with WIRE_JOB_COLLECT only
 *
 * Init connects WIRE_STDOUT and WIRE_STDERR at the script's first byte there, so
 * a stream that was never used was never connected.  At the end init neither
 * shuts nor closes: WIRE_EXIT is queued after the last stream byte and is the
 * end of every stream.  RST, or SHUTDOWN from the host, on a connected output
 * stream means "no reader": the script gets SIGPIPE there.
 *
 * All integers are little-endian; both sides are, and the build says so.
 */
#ifndef DOLANIA_GUEST_WIRE_H
#define DOLANIA_GUEST_WIRE_H

#include <stdint.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "wire structs are little-endian");

enum {
	WIRE_HOST_CID = 2,
	WIRE_GUEST_CID = 3,
	WIRE_PRIVILEGED_PORT_MAX = 1023,	/* highest source port init may use */
};

enum wire_port {
	WIRE_CONTROL = 1,
	WIRE_STDIN = 2,
	WIRE_STDOUT = 3,
	WIRE_STDERR = 4,
	WIRE_OUT = 5,
	WIRE_PORTS,			/* table size; port 0 is not used */
};

/*
 * The job: header, then `strings_bytes` of strings, in this order and each
 * NUL-terminated: the working directory; argc argument strings; envc environment
 * strings (KEY=VALUE); per disk after the root disk, the path it is mounted on;
 * and `binds` paths.  Then, not NUL-terminated, `script_bytes` of script text,
 * which init writes to argv[script_arg] (a path) before exec.
 */
#define WIRE_JOB_MAGIC 0x42304a44u		/* "DJ0B" */
enum {
	WIRE_JOB_STDIN = 1u << 0,	/* connect WIRE_STDIN; else stdin is /dev/null */
	WIRE_JOB_SCRIPT = 1u << 1,	/* script text follows the strings */
	WIRE_JOB_WORK = 1u << 2,	/* bind 0 is to be a writable copy */
	WIRE_JOB_OUT = 1u << 3,		/* /out is one of the disks: write all of it back before the end */
	WIRE_JOB_NOEXEC = 1u << 4,	/* /tmp /work /in /out are mounted noexec */
	/*
	 * No script: disk 1 is an ext2 that another guest wrote.  Mount it read-only,
	 * send what is on it to WIRE_OUT as an archive of at most out_bytes, and end
	 * with WIRE_KIND_EXITED; a code other than 0 says that not all of it fitted.
	 */
	WIRE_JOB_COLLECT = 1u << 5,
	WIRE_JOB_JOINED = 1u << 6,	/* the script's stderr is its stdout: WIRE_STDERR stays unused */
};
enum { WIRE_SCRIPT_MAX_BYTES = 16 << 20, WIRE_STRINGS_MAX_BYTES = 1 << 20 };

struct wire_job {
	uint32_t magic;
	uint32_t flags;
	uint8_t entropy[32];		/* credited to the guest's RNG before exec */
	uint64_t realtime_ns;		/* CLOCK_REALTIME of the host */
	uint64_t memory_bytes;		/* cgroup memory.max of the script's group; 0 = no limit */
	uint64_t tmp_bytes;		/* of /tmp, /work, /dev/shm, /run, /var/tmp together; 0 = 1 MiB */
	uint64_t out_bytes;		/* size of /out; 0 = 1 MiB */
	uint32_t pids;			/* cgroup pids.max; 0 = no limit */
	uint32_t open_files;		/* RLIMIT_NOFILE; 0 = init's default */
	uint64_t fsize_bytes;		/* RLIMIT_FSIZE; 0 = no limit */
	uint32_t uid, gid;		/* of the script, never 0 */
	uint32_t argc, envc;
	uint32_t disks;			/* disks after the root disk */
	uint32_t script_arg;		/* index in argv of the script's path, with WIRE_JOB_SCRIPT */
	uint32_t strings_bytes;		/* of the NUL-terminated part */
	uint32_t script_bytes;
	uint32_t binds;			/* places of what disk 1, the input, holds */
	uint32_t copy_disk;		/* the writable disk that WIRE_JOB_WORK copies to; 0: an overlay in tmp_bytes */
	uint64_t tmp_files;		/* files, directories and links in the tmp_bytes; 0 = guest's default */
	uint64_t writable_disks;	/* bit 0 is disk 1: an ext2 that the script writes to */
	uint64_t reserved[1];		/* zero */
};
_Static_assert(sizeof(struct wire_job) == 152, "wire_job is part of the wire");

/* The job's disks after the root disk: /dev/vdb, ... in this order. */
enum { WIRE_DISKS_MAX = 15, WIRE_BINDS_MAX = 64 };

/*
 * The path of a disk that is mounted where the script does not see it.  Disk 1
 * is, when there are binds: its root has an entry "0", "1", ... for each of them,
 * a directory or a file, which is bound to the bind's path.
 */
#define WIRE_DISK_UNSEEN "/"

/* Guest to host.  `v` is indexed by the enum of the frame's type. */
#define WIRE_FRAME_MAGIC 0x30465244u		/* "DRF0" */
enum wire_frame_type {
	WIRE_READY = 1,		/* init is up and asks for the job; v[0] = CLOCK_MONOTONIC ns */
	WIRE_STARTED = 2,	/* the script's exec succeeded; v[0] = CLOCK_MONOTONIC ns.
				 * Sent at most 10 ms later, or together with WIRE_EXIT */
	WIRE_EXIT = 3,		/* last frame: streams were sent before it.  v: enum wire_exit */
	WIRE_NOTE = 4,		/* (reserved) something init saw; v: kind, count, first value */
};
enum wire_exit {
	WIRE_EXIT_KIND,		/* enum wire_exit_kind */
	WIRE_EXIT_CODE,		/* exit status 0..255, signal number, or errno */
	WIRE_EXIT_UTIME_NS,	/* of the script's whole cgroup or tree */
	WIRE_EXIT_STIME_NS,
	WIRE_EXIT_MAXRSS_BYTES,
	WIRE_EXIT_MINFLT,
	WIRE_EXIT_MAJFLT,
	WIRE_EXIT_MEMORY_PEAK_BYTES,	/* cgroup memory.peak */
	WIRE_EXIT_OOM_KILLS,	/* cgroup memory.events oom_kill */
	WIRE_EXIT_PIDS_PEAK,
	WIRE_EXIT_PIDS_REFUSED,	/* cgroup pids.events max */
	WIRE_EXIT_MONOTONIC_NS,	/* when the script ended */
	WIRE_EXIT_TMP_BYTES,	/* of tmp_bytes in use when the script ended */
	WIRE_EXIT_TMP_FILES,	/* of tmp_files */
	WIRE_EXIT_PLACES,	/* enum wire_places, and bit 0 for disk 1, ...: no room was left on it at the end */
	WIRE_EXIT_FIELDS,
};
enum wire_places {
	WIRE_PLACES_OUT_LEFT = 1u << 31,	/* files in /out, without WIRE_JOB_OUT: nobody takes them */
	WIRE_PLACES_KILLED_SHIFT = 32,	/* from this bit on: the processes that the script left running, and init killed */
	WIRE_PLACES_NO_MEMORY = 1u << 30,	/* a script that failed had asked for more than the machine has */
};
enum wire_exit_kind {
	WIRE_KIND_EXITED = 1,
	WIRE_KIND_SIGNALED = 2,
	WIRE_KIND_NOT_EXECUTABLE = 3,	/* exec failed: CODE is errno; status 126 */
	WIRE_KIND_NOT_FOUND = 4,	/* no such program in the image; status 127 */
	WIRE_KIND_OOM = 5,		/* the script (its group) was killed for memory */
	WIRE_KIND_INIT_FAILED = 6,	/* init could not do its part: CODE is errno, then enum wire_init_failed */
};

/* With WIRE_KIND_INIT_FAILED these take the place of the fields after CODE. */
enum wire_init_failed {
	WIRE_INIT_STEP = 2,		/* enum wire_step */
	WIRE_INIT_WHICH = 3,		/* WIRE_STEP_DISK: the disk, WIRE_STEP_BIND: the bind, from 1; else 0 */
};
enum wire_step {
	WIRE_STEP_LINK = 1,	/* a vsock connection */
	WIRE_STEP_JOB = 2,	/* the job is malformed (EPROTO), too large, or was cut short */
	WIRE_STEP_PROC = 3,	/* /proc: ENOENT when the image has no such directory */
	WIRE_STEP_ROOT = 4,	/* the root disk: none, or no EROFS image */
	WIRE_STEP_DEV = 5,	/* /dev: as /proc */
	WIRE_STEP_CGROUP = 6,	/* the script's group, or a limit of it */
	WIRE_STEP_TMP = 7,	/* /tmp: as /proc */
	WIRE_STEP_WORK = 8,	/* /work */
	WIRE_STEP_OUT = 9,	/* /out */
	WIRE_STEP_DISK = 10,	/* a further disk, or the directory it goes on */
	WIRE_STEP_SWITCH = 11,	/* the change of root */
	WIRE_STEP_ENTROPY = 12,
	WIRE_STEP_CLOCK = 13,
	WIRE_STEP_SCRIPT = 14,	/* writing the script's text */
	WIRE_STEP_PIPES = 15,
	WIRE_STEP_SPAWN = 16,	/* a process, its group, its descriptors, its limits */
	WIRE_STEP_CHDIR = 17,	/* the working directory does not exist in the image */
	WIRE_STEP_IDENTITY = 18,	/* uid, gid, no_new_privs */
	WIRE_STEP_SECCOMP = 19,
	WIRE_STEP_RELAY = 20,	/* the relay of the streams */
	WIRE_STEP_BIND = 24,	/* the place of an input: ENOENT, ENOTDIR or EISDIR when the image has no such */
	WIRE_STEP_LOOPBACK = 21,	/* bringing `lo` up */
	WIRE_STEP_COLLECT = 22,	/* mounting or sending what another guest left */
};
enum { WIRE_FRAME_VALUES = 15 };
_Static_assert((int)WIRE_EXIT_FIELDS <= (int)WIRE_FRAME_VALUES, "the last frame has a place for each");

struct wire_frame {
	uint32_t magic;
	uint32_t type;
	uint64_t v[WIRE_FRAME_VALUES];
};
_Static_assert(sizeof(struct wire_frame) == 128, "wire_frame is part of the wire");

#endif
