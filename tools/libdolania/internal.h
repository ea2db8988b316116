/* SPDX-License-Identifier: Apache-2.0 */
/*
 * internal.h - what the files of libdolania share.
 *
 * Functions that can fail return 0, or -1 after session_fail() wrote down why;
 * the first failure stays.
 */
#ifndef DOLANIA_INTERNAL_H
#define DOLANIA_INTERNAL_H

#include <sys/types.h>

#include "tools/libdolania/cgroup.h"
#include "tools/libdolania/dolania.h"
#include "tools/libdolania/inputs.h"

#define NS_PER_S 1000000000ull
#define NS_PER_MS 1000000ull

enum { SCRIPT_WORDS = 130 };

struct script {
	uint8_t *text;			/* NULL: no script file */
	size_t bytes;
	char place[4096];		/* its path in the guest */
	char interp[256], interp_arg[256];	/* from '#!', as they stand there; "" none */
	char env_flags[8], split_text[4096];
	const char *word[SCRIPT_WORDS];	/* the same, `env -S` taken apart */
	unsigned words;
	bool is_env;			/* the interpreter is env */
};

struct fds {
	int kvm, ram, shared, kernel, initrd, job, root, input;
	int program;			/* the VMM */
	int scratch, out_disk;		/* memfds: kept until they are overwritten */
	int net;			/* the VMM's network namespace: for it to end after the VMM */
	int in[2], out[2], err[2], notice[2], log[2];	/* pipes */
};

#define SESSION_NO_FDS { \
	.kvm = -1, .ram = -1, .shared = -1, .kernel = -1, .initrd = -1, .job = -1, .root = -1, .input = -1, .program = -1, \
	.scratch = -1, .out_disk = -1, .net = -1, .in = { -1, -1 }, .out = { -1, -1 }, .err = { -1, -1 }, \
	.notice = { -1, -1 }, .log = { -1, -1 }, \
}

/* progress.c: one line on a terminal while a run takes long. */
struct progress {
	int fd;				/* a description of our own of the terminal; -1: nothing is drawn */
	bool drawn;
	uint64_t from_ns;		/* when something may be drawn again */
	char text[64];			/* that is there */
};
void progress_begin(struct progress *p, int terminal);
void progress_end(struct progress *p);
/* Says what is being done, no more than four times a second; how long to poll at most. */
int progress_show(struct progress *p, const char *what, int timeout);
void progress_clear(struct progress *p);	/* before anything else is written to the terminal */

struct out_target;

struct session {
	struct progress *progress;	/* never NULL */
	const struct dolania_options *o;
	struct dolania_result *r;
	struct dolania_paths paths;
	char image_path[4096];
	struct script script;
	struct inputs inputs;
	const char **argv;		/* of the guest's program */
	size_t argc;
	bool script_is_stdin;
	uint64_t ram_bytes;
	struct fds fd;
	struct report *page;		/* the shared memfd, mapped */
	struct cgroup cgroup;		/* of the VMM's own */
	pid_t pid;
	int pidfd;
	uint64_t oom_kills_before;
	enum killed_for { KILL_NONE, KILL_WALL, KILL_CANCEL, KILL_WIPE } killed_for;
	enum dolania_reason policy_end;	/* the policy ended it, for policy_why; DOLANIA_NOT_RUN: it did not */
	char policy_why[DOLANIA_LINE];
	int cancel_signal;		/* 0: not cancelled */
	bool abandoned;			/* cancelled while output waited for its reader */
	uint64_t events_told[REPORT_EVENTS];	/* the count each was last told with */
	int events_error;		/* errno of the first line that could not be written */
	const struct session *collecting;	/* not NULL: the second VM of that one (collect.c) */
	struct out_target *out;		/* --out; NULL: none */
	bool kvm_asked;
	char kvm_unfit[256];		/* why this KVM cannot boot a Linux; "": it can, or was not asked */
};

uint64_t now_ns(void);			/* CLOCK_MONOTONIC */

static inline uint64_t timeval_ns(struct timeval t)
{
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_usec * 1000;
}

/* The kernel's count of a process: user and system. */
static inline uint64_t rusage_ns(const struct rusage *u)
{
	return timeval_ns(u->ru_utime) + timeval_ns(u->ru_stime);
}

/* Whose fault a file is that cannot be had: DOLANIA_USAGE, or the host's, which is short of memory or descriptors, or ill. */
enum dolania_reason reason_of_file(int error);
int session_fail(struct session *s, enum dolania_reason why, const char *format, ...)
	__attribute__((format(printf, 3, 4), cold));
void session_note(struct session *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Before there is a VM: a signal that cancels is noted in s->cancel_signal, others do nothing. */
void session_take_signal(struct session *s);
void fd_close(int *fd);
const char *error_text(uint64_t error);	/* of an errno that a guest or a jailed process told; never NULL */
/* Copies text, escaping what a terminal or a line would trip over. */
void text_escape(char *to, size_t room, const void *from, size_t bytes, bool keep_newlines);

/* guest_log.c: records of the guest's kernel that begin with these words, 16 bytes or more, no script's own. */
struct guest_words { const char *at; size_t bytes; };	/* in the log, without the end of the line */
unsigned guest_log_says(const struct report *p, const char *words, struct guest_words *last);	/* NULL: only the count */

/* locate.c */
int locate_all(struct session *s);
int locate_open(struct session *s, const char *path, const char *what, enum dolania_reason why, int *fd);
const char *locate_kernel(const struct session *s);
int locate_image(struct session *s, const char *runtime);

/* script.c: reads the script, builds argv, chooses the runtime. */
int script_prepare(struct session *s);
void script_release(struct session *s);

bool stream_same(int a, int b);	/* one open file, pipe, socket or terminal */

/* shebang.c */
int shebang_read(struct session *s);
bool shebang_has_bom(const struct script *c);
const char *shebang_program(const struct script *c);	/* of the '#!' line, behind env; "" none.  Its lifetime is c's */

/* ram.c: what the machine gets for what the script may use. */
uint64_t ram_for(const struct dolania_options *o);
uint64_t tmp_files_max(const struct dolania_options *o);

/* enforce.c: what the policy ends a run for. */
bool policy_ends(struct session *s, const struct report *page);

/* job.c */
int job_build(struct session *s);
const char *job_env(const struct dolania_options *o, const char *name, size_t n);	/* the script's; NULL: it has none such */

/* disk.c */
enum { DISKS_MAX = 4 };
struct disk {
	const char *role;		/* in the result */
	const char *option, *place;	/* that asks for it, and where the guest has it; NULL for the image */
	int fd;
	bool writable;
	bool holds_copy;		/* of --work */
	bool used;			/* what another guest wrote */
};
/* A guest's disks, in order; how many. */
unsigned disk_roles(const struct dolania_options *o, const struct fds *f, struct disk list[DISKS_MAX]);
unsigned disk_list(const struct session *s, struct disk list[DISKS_MAX]);
/* A memfd with an ext2 on it that a script can fill with `bytes`. */
int disk_make(struct session *s, const char *option, uint64_t bytes, int *fd);

/*
 * The most that an archive of /out has: its files, and 2 KiB of headers for each of
 * the file system's inodes (one for 4 KiB).  That is enough for paths of a thousand bytes.
 */
static inline uint64_t out_archive_max(const struct dolania_options *o)
{
	return o->disk_bytes + o->disk_bytes / 2 + (64 << 10);
}

/* out.c: where what was in /out goes. */
int out_prepare(struct session *s);	/* before the run: everything that can be wrong */
void out_return(struct session *s);	/* after the verdict */
void out_release(struct session *s);

/* collect.c: a second VM, that never ran the script, sends what is on s's disk to `fd`. */
struct collected {
	bool whole;			/* the archive, to its end */
	bool host_failed;		/* no fault of the guest's: `why` */
	int cancel_signal;
	uint64_t archive_bytes;
	char why[DOLANIA_LINE];
};
void collect(struct session *s, int fd, struct collected *c);

/* unchanged.c */
bool unchanged_is_known(int fd);	/* its file system says when a file changes */
bool unchanged_is_settled(const struct timespec *ctime, const struct timespec *now);
void unchanged_write_back(int fd);	/* before it is read: then each later write is seen */

/* measure.c */
int cache_open(const char *name);	/* $XDG_CACHE_HOME/dolania/NAME, made if need be; -1: no cache */
/* Of an image that the cache of inputs keeps; its digest lies there as `digest_name`, or is put there. */
void measure_kept(struct session *s, const char *role, const char *name, int fd, const char *digest_name);
void measure_file(struct session *s, const char *role, const char *name, int fd);
void measure_bytes(struct session *s, const char *role, const char *name, const void *bytes, size_t n);

/* spawn.c: the one place where the VMM process begins. */
int spawn_prepare(struct session *s);	/* memfds and pipes */
int spawn_vmm(struct session *s);
void spawn_ended(struct session *s);	/* the VMM was reaped: what its cgroup says, and the end of that */
void spawn_release(struct session *s);

/* supervise.c: from spawn to the VMM's last byte. */
void supervise(struct session *s);

/* deadline.c: when the VMM's own clock ends the run, by CLOCK_MONOTONIC; 0: never. */
uint64_t deadline_of(const struct session *s);

/* vmmlog.c: the end of what the VMM writes to its log. */
struct vmm_log {
	char text[1024];
	size_t bytes;
};
void log_read(struct vmm_log *g, int *fd);		/* fd is readable; closed at its end */
void log_finish(struct vmm_log *g, int *fd);		/* the VMM is gone: what is still there, and no more */
void log_keep(const struct vmm_log *g, char *to, size_t room);	/* its last line */

/* doubt.c: whether this KVM cannot boot a Linux; s->kvm_unfit says why. */
bool kvm_is_unfit(struct session *s);

/* verdict.c: what report and wait status say. */
void verdict(struct session *s);
void verdict_guest_exit(struct session *s);	/* verdict_guest.c: by init's last frame */
uint64_t verdict_oom_kills(void);

/* notes.c */
void notes_guest(struct session *s, const uint64_t *v);	/* of the last frame */
void notes_output(struct session *s);
void notes_left(struct session *s, pid_t vmm);	/* which was killed, and did not disappear */
void notes_script(struct session *s, uint64_t g_status);	/* what is not seen in a script's text; it exited with that */
void notes_file_size(struct session *s, uint64_t g_status);	/* a script that exited with it */

/* events.c */
const char *event_kind_name(unsigned kind);	/* of enum report_event_kind, below REPORT_EV_KINDS; NULL for 0 */
bool event_kind_is_late(unsigned kind);	/* seen once the run is over: nothing is left to be ended for it */
/* One copy, that no compiler makes twice: the VMM may go on writing. */
struct report_event event_copy(const struct report *page, unsigned i);
void events_watch(struct session *s, const struct report *page);	/* after a notice */
void events_finish(struct session *s);	/* after the verdict */
void events_collected(struct session *s, const struct report *second);	/* what the second VM did, but for its boot */

/* discard.c */
/* The VMM may go on writing to what it shares with us: a copy takes its place. False: there is no memory for one. */
bool discard_freeze(struct session *s);
void discard_verify(struct session *s);
void discard_page(struct session *s);	/* what is shared with the VMM: overwrites, unmaps and closes it, if it is there */
void discard_disk(struct session *s, int *fd);	/* a writable disk: overwrites and closes it */

/* streams.c */
enum { STREAM_CHUNK_BYTES = 32 * 1024 };
struct stream {
	struct dolania_stream *stats;
	int pipe;			/* our end of the VMM's pipe; -1: at its end */
	int user;			/* the caller's fd, never changed */
	int own;			/* a description of our own of the same file, or -1 */
	bool is_pipe, is_socket, tried_own;
	bool is_fifo;			/* the caller's file takes a pipe's pages */
	bool clean;
	bool last;			/* the VMM is gone, and left `rest` bytes in the pipe */
	bool drained;			/* nothing will come any more */
	uint64_t limit;
	unsigned char utf8[4];		/* clean: an unfinished character */
	unsigned utf8_have, utf8_want;
	size_t rest;
	size_t from, bytes;		/* of `pending` */
	size_t most;			/* it ever held */
	unsigned char raw[STREAM_CHUNK_BYTES];
	unsigned char pending[4 * STREAM_CHUNK_BYTES + 64];	/* cleaned text is longer */
};
void stream_init(struct stream *t, struct dolania_stream *stats, int pipe, int user, bool clean,
		 uint64_t limit);
/* True while pending bytes wait for the reader: then the pipe is not read. */
bool stream_is_full(const struct stream *t);
void stream_read(struct stream *t);		/* the pipe is readable */
void stream_write(struct stream *t);		/* the reader takes something */
void stream_take(struct stream *t, const void *bytes, size_t n);	/* <= 32 KiB, pending empty */
void stream_end(struct stream *t);		/* no more will come */
/* The VMM is gone: takes what its pipe and its ring still hold, as far as the reader does. */
void stream_finish(struct stream *t, struct report *page, unsigned ring);
void stream_hang_up(struct stream *t);		/* the reader left */
void stream_drop(struct stream *t);		/* forget what is pending */
void stream_release(struct stream *t);

/* progress.c: whether the line may follow what a stream wrote, wherever that goes. */
enum progress_place {
	PROGRESS_APART,			/* not to a screen */
	PROGRESS_TERMINAL,
	PROGRESS_PIPE,			/* whose reader may write to the terminal, without telling us */
};
enum progress_place progress_place_of(int fd);
int progress_run(const struct session *s, unsigned phase, int timeout);	/* progress_show() for a VM at work */
bool progress_may_follow(enum progress_place place, const struct stream *t);

/* input.c */
struct input {
	int user, pipe;			/* the caller's stdin; our end of the VMM's pipe, -1 once it is closed */
	bool open;			/* the caller's stdin may have more */
	bool is_pipe;			/* what the caller's stdin is */
	size_t from, bytes;		/* of `raw`: read and not yet written */
	size_t most;			/* it ever held */
	unsigned char raw[64 * 1024];
};
void input_init(struct input *in, int user, int pipe);
size_t input_read(struct input *in);	/* user is readable, nothing is pending; the bytes taken */
void input_write(struct input *in);	/* the pipe takes something */
void input_end(struct input *in);
void input_release(struct input *in);

/* terminal.c: makes control sequences harmless; <= 4 bytes for each byte. */
size_t terminal_clean(struct stream *t, unsigned char *to, const unsigned char *from, size_t n);
size_t terminal_flush(struct stream *t, unsigned char *to);

#endif
