/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dolania.h - run one script in one virtual machine, as a C call that returns.
 *
 *	struct dolania_options o;
 *	struct dolania_result r;
 *
 *	dolania_defaults(&o);
 *	o.form = DOLANIA_CODE;
 *	o.script = "echo hello";
 *	dolania_run(&o, &r);
 *	printf("%s\n", dolania_reason_name(r.reason));
 *	dolania_result_release(&r);
 *
 * The call starts the VMM process, relays its streams, and returns when the VM
 * is gone and its memory overwritten.  One call a time in a process: it reaps
 * its own child only, but SIGPIPE and SIGXFSZ must be ignored or blocked and SIGCHLD not
 * ignored by the caller.  Nothing of the caller's is changed: no fd flag, no
 * signal disposition, no working directory.
 *
 * Files are found relative to the executable (libexec/dolania, share/dolania).
 */
#ifndef DOLANIA_H
#define DOLANIA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#include "vmm/report/report.h"

#define DOLANIA_VERSION "0.1.0"

/* Why a run ended.  Names, who said so and exit statuses: reason.c. */
enum dolania_reason {
	DOLANIA_NOT_RUN,		/* no verdict yet; never in a finished result */
	DOLANIA_EXITED,			/* code: exit status */
	DOLANIA_SIGNALED,		/* code: signal */
	DOLANIA_NOT_EXECUTABLE,		/* code: errno of the guest's exec */
	DOLANIA_NOT_FOUND,		/* code: errno */
	DOLANIA_GUEST_OOM,
	DOLANIA_WALL_LIMIT,
	DOLANIA_CPU_LIMIT,
	DOLANIA_OUTPUT_LIMIT,
	DOLANIA_GUEST_PANIC,
	DOLANIA_PROTOCOL_VIOLATION,
	DOLANIA_VMM_FAULT,		/* code: signal, 0 if it was none */
	DOLANIA_CANCELLED,		/* code: signal */
	DOLANIA_HOST_UNSUPPORTED,
	DOLANIA_HOST_IO,
	DOLANIA_HOST_OOM,
	DOLANIA_BOOT_FAILED,
	DOLANIA_USAGE,
	DOLANIA_REASONS,
};

enum dolania_form {
	DOLANIA_FILE,	/* script: path of a script; "-" reads it from stdin_fd */
	DOLANIA_CODE,	/* script: code for the runtime's interpreter */
	DOLANIA_EXEC,	/* script: a program in the image */
};

/* A file or directory of the host that the script sees, read-only. */
struct dolania_input {
	const char *path;
	const char *place;		/* in the guest; NULL: /in for a directory, /in/NAME for a file */
};

/* All strings stay the caller's and must outlive the call. */
struct dolania_options {
	enum dolania_form form;
	const char *script;
	const char *const *args;	/* for the script, without its own name */
	size_t args_count;
	const char *runtime;		/* name or image path; NULL: chosen by the script */
	const char *const *env;		/* KEY=VALUE, later ones win */
	size_t env_count;
	const char *chdir;		/* in the guest; NULL: /work */
	const struct dolania_input *in;
	size_t in_count;
	const char *work_dir;		/* host directory of which /work is a writable copy; NULL: /work is empty */
	uint64_t cache_bytes;		/* what packed inputs kept for later runs may take; 0: none is kept or used */
	const char *out;		/* directory (made if its parent is there) or FILE.tar for /out; NULL: none */
	uint64_t disk_bytes;		/* size of /out, with `out` */
	uint64_t scratch_bytes;		/* size of a disk at /scratch; 0: none */
	uint64_t wall_ns;		/* 0: no limit */
	uint64_t cpu_ns;		/* of the vCPU and its devices; 0: no limit */
	uint64_t memory_bytes, tmp_bytes;
	uint64_t output_bytes;		/* passed on of each stream; the rest is counted */
	uint64_t fsize_bytes;		/* of one file; 0: no limit */
	uint32_t pids, open_files;	/* 0: no limit, guest's default */
	bool image_only;		/* nothing in /tmp, /work, /in, /out can be executed */
	bool kill_output;		/* a stream beyond output_bytes ends the run */
	unsigned kill_severity;		/* events of this severity and above end it: 1 to 3 */
	uint32_t kill_kinds;		/* and these: a bit for each enum report_event_kind */
	const struct dolania_policy *policy, *site;	/* where all this is from, policy.h; NULL: from nowhere */
	const char *kernel, *initrd, *append;	/* NULL: ours; append: more kernel command line */
	bool loopback;			/* our kernel with 127.0.0.1; not with `kernel` */
	int stdin_fd;			/* -1: none */
	int stdout_fd, stderr_fd;	/* -1: count only; the same open file: the script has one stream for both */
	bool clean_stdout, clean_stderr;	/* make control sequences harmless */
	int events_fd;			/* a JSON line for each event, as it happens (docs/result.md); -1: none */
	int progress_fd;		/* a terminal that is told what is being done, where that takes long; -1: none */
	bool measure;			/* fill `measured` (hashing costs time) */
	/*
	 * A signalfd with SIGINT, SIGTERM, SIGHUP, SIGQUIT (cancel), SIGTSTP and
	 * SIGCONT (stop and go on), all blocked in this thread; -1: none.
	 */
	int signal_fd;
};

enum { DOLANIA_LEFT_OUT = 32 };

/* What the script saw of the host's files.  Released with the result. */
struct dolania_seen {
	char *path, *place;		/* on the host, in the guest */
	bool directory, writable;
	uint64_t files, bytes;		/* regular files, and what they hold */
	struct dolania_left_out {
		uint64_t total;		/* entries that the script does not get: FIFOs, sockets, devices */
		unsigned listed;	/* the first of them, by their path below `path` */
		struct {
			char *name;
			const char *why;
		} entry[DOLANIA_LEFT_OUT];
	} left_out;
};

/* What a file was when the run used it.  Released with the result. */
struct dolania_measure {
	const char *role;		/* vmm, kernel, initrd, image, script, input, cmdline */
	char *name;			/* path or text */
	uint64_t bytes;
	char sha256[65];
	bool cached;			/* digest from the cache, not computed now */
};

struct dolania_stream {
	uint64_t bytes;			/* the guest wrote, as far as it reached the host */
	uint64_t delivered_bytes;	/* passed on */
	bool truncated;			/* by output_bytes */
	bool closed;			/* its reader left: EPIPE */
	int error;			/* writing failed for another reason: errno; else 0 */
	uint8_t last_byte;		/* passed on; a newline if none was */
	uint32_t tail_bytes;		/* of `tail`, with `truncated` */
	uint8_t tail[4096];		/* the last bytes the guest wrote */
};

struct dolania_discard {
	uint64_t touched_bytes;		/* guest memory that held pages at the end */
	uint64_t vmm_bytes, supervisor_bytes;	/* overwritten, and by whom */
	uint64_t disk_bytes;		/* of writable disks, by the supervisor */
	uint64_t collector_bytes;	/* of the second VM's memory */
	uint64_t ns;
	uint64_t samples;		/* pages looked into afterwards */
	bool complete;
};

enum { DOLANIA_MEASURES = 8, DOLANIA_NOTES = 8, DOLANIA_LINE = 512 };
enum { DOLANIA_REFUSED = 64, DOLANIA_NAME = 1024 };

/* What came back from /out.  All of it is the guest's doing, save `why` and `why_not`. */
struct dolania_out {
	bool collected;			/* a second VM read the disk of /out */
	bool complete;			/* to its end; else why_not says what is missing */
	uint64_t files, dirs, bytes;	/* in the directory now */
	uint64_t archive_bytes;		/* that the second VM sent */
	uint64_t refused_total;
	unsigned listed;		/* the first of them */
	struct dolania_refusal {
		char name[DOLANIA_NAME];	/* escaped */
		const char *why;
	} refused[DOLANIA_REFUSED];
	char why_not[DOLANIA_LINE];
};

/* The VMM's own cgroup, a second wall; see docs/decisions/0003-a-cgroup-of-the-vmms-own.md. */
struct dolania_cgroup {
	bool own;			/* there was one, with the limits below */
	bool callers_limit;		/* else: limits of the caller's cgroup hold */
	uint64_t memory_max_bytes, memory_peak_bytes;	/* peak: 0 if this kernel does not say */
	uint64_t oom_kills;
	unsigned pids_max;
	char why_not[160];		/* "" if there was one */
};

struct dolania_result {
	char run_id[33];
	enum dolania_reason reason;
	int code;			/* see enum dolania_reason */
	bool by_init;			/* boot_failed, by the word of the guest's init alone */
	char message[DOLANIA_LINE];	/* one line, "" for a normal end; no "dolania: " */
	char detail[REPORT_LOG_BYTES * 4 + 1];	/* more of it, maybe lines; maybe "" */
	char note[DOLANIA_NOTES][DOLANIA_LINE];	/* "" ends them */
	char runtime[DOLANIA_LINE];	/* image's name or path */
	uint64_t started_realtime_ns, started_ns, ended_ns;	/* of the VMM's life */
	uint64_t ram_bytes;
	bool ran;			/* a VMM was started: `report` and below are valid */
	struct report report;		/* checked copy of the shared page */
	int vmm_wait_status;
	bool vmm_killed;		/* by us: it did not end in time */
	bool vmm_left;			/* it is dead or killed, and did not disappear: it has no status */
	struct rusage vmm_usage;
	char vmm_log[DOLANIA_LINE];	/* last line the VMM wrote */
	uint64_t stdin_bytes;		/* read from stdin_fd */
	struct dolania_stream out, err;
	bool joined;			/* the caller's stdout and stderr are one, so the script's are: all is in `out` */
	struct dolania_cgroup cgroup;
	struct dolania_discard discard;
	struct dolania_out returned;	/* with the option `out` */
	struct dolania_measure measured[DOLANIA_MEASURES];
	unsigned measures;
	struct dolania_seen *inputs;	/* --work and --in; NULL: none, or not packed */
	size_t input_count;
	bool inputs_cached;		/* their image was kept from an earlier run */
};

void dolania_defaults(struct dolania_options *o);

/* Does the run.  The verdict is in r->reason; also for usage errors. */
void dolania_run(const struct dolania_options *o, struct dolania_result *r);
void dolania_result_init(struct dolania_result *r);
void dolania_result_release(struct dolania_result *r);

/* The result as JSON (docs/result.md), malloc'ed; NULL without memory. */
char *dolania_result_json(const struct dolania_options *o, const struct dolania_result *r, int status);

/* The same, as much as fits, in the form of isolate(1)'s --meta; malloc'ed, NULL without memory. */
char *dolania_result_meta(const struct dolania_result *r);

enum dolania_exit_mode { DOLANIA_MIRROR, DOLANIA_ISOLATE, DOLANIA_ZERO };
const char *dolania_reason_name(enum dolania_reason reason);
bool dolania_reason_by_guest(enum dolania_reason reason);
int dolania_exit_status(const struct dolania_result *r, enum dolania_exit_mode mode);

/* "512M" and "1.5s".  0, or -1 when `text` is no such thing, -2 when it is one beyond what INT64_MAX can be. */
int dolania_parse_bytes(const char *text, uint64_t *bytes);
int dolania_parse_ns(const char *text, uint64_t *ns);
/* Back to the shortest text that says the same. */
const char *dolania_format_bytes(uint64_t bytes, char *to, size_t room);
const char *dolania_format_ns(uint64_t ns, char *to, size_t room);

/* Paths of what a run uses, for doctor.  0, or -1: the executable cannot be found. */
struct dolania_paths {
	char vmm[4096], kernel[4096], loopback[4096], initrd[4096], images[4096];
};
int dolania_locate(struct dolania_paths *p);
/* The runtimes of ours that 'make setup' does not build; ended by NULL. */
extern const char *const dolania_on_demand[];
/* "base, python": the names of the images there; "none". */
void dolania_list_runtimes(const struct dolania_paths *p, char *to, size_t room);

/*
 * Where packed inputs are kept for later runs, how many, and what they take, for
 * doctor.  -1: nowhere, each run packs its own.
 */
int dolania_cache(char *path, size_t room, uint64_t *images, uint64_t *bytes);

uint64_t dolania_memory_max(void);	/* --memory's upper limit on this host */
enum { DOLANIA_MEMORY_MIN = 16 << 20 };

#endif
