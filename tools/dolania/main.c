/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dolania - run one script in one virtual machine that is thrown away after it.
 *
 * The run itself is libdolania's; here are the command line, the signals, the
 * caller's streams, the lines on stderr, the result file and the exit status.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/dolania/command.h"
#include "tools/dolania/sink.h"

void say(const char *format, ...)
{
	char line[DOLANIA_LINE * 2];
	size_t used = (size_t)snprintf(line, sizeof(line), "dolania: ");
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(line + used, sizeof(line) - used - 1, format, ap);
	va_end(ap);
	used += n < 0 ? 0 : (size_t)n < sizeof(line) - used - 1 ? (size_t)n : sizeof(line) - used - 2;
	/* Arguments are quoted in it: one line it stays. */
	for (size_t i = 0; i < used; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	line[used++] = '\n';
	/* One write, so that lines of several runs do not mix; if it fails, nobody is there. */
	if (write(STDERR_FILENO, line, used) < 0)
		return;
}

/* Numbers 0 to 2 must be taken before we open anything.  Returns which were not. */
static unsigned fill_standard_fds(void)
{
	unsigned missing = 0;

	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0) {
			missing |= 1u << fd;
			if (open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY) != fd) {
				say("descriptor %d cannot be opened: %s", fd, strerror(errno));
				_exit(STATUS_USAGE);
			}
		}
	return missing;
}

/*
 * Signals that cancel, stop and go on are read from a descriptor.  One that our
 * caller had us ignore (nohup) stays ignored.
 */
static int open_signals(sigset_t *set)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT };

	sigemptyset(set);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		struct sigaction now;

		if (sigaction(signals[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
			sigaddset(set, signals[i]);
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);	/* ulimit -f is EFBIG then, and told */
	signal(SIGCHLD, SIG_DFL);	/* an inherited SIG_IGN would lose the VMM's status */
	if (sigprocmask(SIG_BLOCK, set, NULL) < 0)
		return -1;
	return signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* stdin is passed on when it is a pipe, a file or a socket; a terminal only with -i. */
static int choose_stdin(bool missing, bool interactive)
{
	struct stat st, null;

	if (missing || fstat(STDIN_FILENO, &st) < 0)
		return -1;
	if (isatty(STDIN_FILENO))
		return interactive ? STDIN_FILENO : -1;
	if (S_ISCHR(st.st_mode) && stat("/dev/null", &null) == 0 && st.st_rdev == null.st_rdev)
		return -1;
	return STDIN_FILENO;
}

/* End as a program without a handler would have. */
int die_by(int sig)
{
	sigset_t one;

	signal(sig, SIG_DFL);
	sigemptyset(&one);
	sigaddset(&one, sig);
	raise(sig);
	sigprocmask(SIG_UNBLOCK, &one, NULL);
	return 128 + sig;
}

/* --quiet silences what the script did and what limits did to it, not trouble of the host's. */
static bool is_script_matter(enum dolania_reason reason)
{
	switch (reason) {
	case DOLANIA_WALL_LIMIT: case DOLANIA_CPU_LIMIT: case DOLANIA_OUTPUT_LIMIT: case DOLANIA_CANCELLED:
	case DOLANIA_GUEST_PANIC:
		return true;
	default:
		return dolania_reason_by_guest(reason);
	}
}

static void tell(const struct command *c, const struct dolania_result *r)
{
	bool any = r->message[0] != '\0' || r->note[0][0] != '\0';

	if (c->quiet && is_script_matter(r->reason))
		return;
	/* Our line begins a line, also after output that did not end its last one. */
	if (any && r->ran && ((r->err.bytes > 0 && r->err.last_byte != '\n') ||
			      ((r->joined || (c->run.clean_stdout && c->run.clean_stderr)) && r->out.bytes > 0 &&
			       r->out.last_byte != '\n')) && write(STDERR_FILENO, "\n", 1) < 0)
		return;
	if (r->message[0] != '\0')
		say("%s", r->message);
	if (c->quiet)
		return;
	for (unsigned i = 0; i < DOLANIA_NOTES && r->note[i][0] != '\0'; i++)
		say("note: %s", r->note[i]);
}

static int finish(const struct command *c, const struct dolania_result *r, const struct sink *result,
		  const struct sink *meta)
{
	int status = dolania_exit_status(r, c->exit_mode);
	bool written = true;

	tell(c, r);
	if (result->fd >= 0)
		written = sink_write(result, "the result", dolania_result_json(&c->run, r, status));
	if (meta->fd >= 0)
		written = sink_write(meta, "the meta file", dolania_result_meta(r)) && written;
	if (!written)
		return STATUS_USAGE;
	return r->reason == DOLANIA_CANCELLED ? die_by(r->code) : status;
}

/* Who types into the same terminal (-i) would see it in between. */
static bool wants_progress(const struct command *c)
{
	const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");

	return !c->quiet && !c->interactive && term != NULL && strcmp(term, "") != 0 && strcmp(term, "dumb") != 0 &&
	       (no_color == NULL || no_color[0] == '\0');
}

static int command_run(int argc, char **argv, unsigned missing_fds)
{
	static struct dolania_result r;
	struct command c;
	const struct rlimit no_core = { 0, 0 };
	sigset_t signals;
	struct sink result, meta;
	int status, signal_fd = open_signals(&signals);	/* first: from here on an end is orderly */
	enum dolania_reason why;	/* of c.error */
	bool core_off = setrlimit(RLIMIT_CORE, &no_core) == 0;	/* guest output is in our buffers */

	options_parse(&c, argc, argv);
	c.run.signal_fd = signal_fd;
	if (c.help && c.error[0] == '\0') {
		options_release(&c);
		return help_print("run");
	}
	options_apply_policy(&c);
	dolania_result_init(&r);
	result = (struct sink){ c.result_fd >= 0 ? "--result-fd" : "--result", c.result_file, c.result_fd, -1 };
	meta = (struct sink){ "--meta", c.meta_file, -1, -1 };
	if (!sink_open(&result, signal_fd, -1) || !sink_open(&meta, signal_fd, result.fd) || !sink_begin(&result) ||
	    !sink_begin(&meta)) {
		options_release(&c);
		return STATUS_USAGE;
	}
	if (c.events_file != NULL && c.error[0] == '\0') {
		c.run.events_fd = sink_open_stream(c.events_file, signal_fd);
		if (c.run.events_fd < 0)
			snprintf(c.error, sizeof(c.error), "--events %s: %s", c.events_file, strerror(errno));
		else if (sink_same_file(c.run.events_fd, result.fd) || sink_same_file(c.run.events_fd, meta.fd))
			snprintf(c.error, sizeof(c.error), "--events %s: is the file of --result or --meta", c.events_file);
	}
	why = c.host_failed ? DOLANIA_HOST_IO : DOLANIA_USAGE;
	if (!core_off && c.error[0] == '\0') {
		why = DOLANIA_HOST_UNSUPPORTED;
		snprintf(c.error, sizeof(c.error), "resource limits cannot be set (setrlimit), so there may be core files");
	}
	c.run.stdin_fd = choose_stdin((missing_fds & 1) != 0, c.interactive);
	c.run.stdout_fd = (missing_fds & 2) != 0 ? -1 : STDOUT_FILENO;
	c.run.stderr_fd = (missing_fds & 4) != 0 ? -1 : STDERR_FILENO;
	c.run.clean_stdout = c.run.stdout_fd >= 0 && isatty(STDOUT_FILENO);
	c.run.clean_stderr = c.run.stderr_fd >= 0 && isatty(STDERR_FILENO);
	c.run.progress_fd = wants_progress(&c) && c.run.clean_stderr ? c.run.stderr_fd : -1;
	c.run.measure = result.fd >= 0;
	if (c.error[0] != '\0') {
		r.reason = why;
		snprintf(r.message, sizeof(r.message), "%s", c.error);
	} else {
		dolania_run(&c.run, &r);
	}
	status = finish(&c, &r, &result, &meta);
	if (c.run.events_fd >= 0)
		close(c.run.events_fd);
	dolania_result_release(&r);
	options_release(&c);
	return status;
}

const char *const command_names[] = { "run", "policy", "doctor", "completion", "version", "help", NULL };

static int unknown_command(const char *command)
{
	const char *like = nearest(command, command_names);

	if (command[0] == '\0')
		say("no command; use 'dolania run SCRIPT', or 'dolania help'");
	else if (like != NULL)
		say("unknown command '%s'; did you mean '%s'? ('dolania help' lists them)", command, like);
	else if (access(command, F_OK) != 0)
		say("unknown command '%s'; 'dolania help' lists them", command);
	else
		say("unknown command '%s'; to run that file: dolania run %s", command, command);
	return STATUS_USAGE;
}

/* `command` has no arguments, but for a wish to know what it does. */
static int takes_nothing(const char *command, const char *argument)
{
	if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0)
		return help_print(command);
	say("%s %s: '%s' takes no arguments; 'dolania help' tells what there is", command, argument, command);
	return STATUS_USAGE;
}

static int command_help(const char *command)
{
	int status = help_print(command);

	return status == STATUS_USAGE && command != NULL ? unknown_command(command) : status;
}

int main(int argc, char **argv)
{
	unsigned missing_fds = fill_standard_fds();
	const char *command = argc > 1 ? argv[1] : "";

	if (strcmp(command, "run") == 0)
		return command_run(argc - 2, argv + 2, missing_fds);
	if (strcmp(command, "policy") == 0)
		return command_policy(argc - 2, argv + 2);
	if (strcmp(command, "completion") == 0)
		return command_completion(argc - 2, argv + 2);
	if (strcmp(command, "doctor") == 0)
		return argc > 2 ? takes_nothing("doctor", argv[2]) : doctor();
	if (argc > 2 && (strcmp(command, "version") == 0 || strcmp(command, "--version") == 0))
		return takes_nothing("version", argv[2]);
	if (strcmp(command, "version") == 0 || strcmp(command, "--version") == 0) {
		printf("dolania %s\n", DOLANIA_VERSION);
		return fflush(stdout) == 0 ? 0 : STATUS_USAGE;
	}
	if (strcmp(command, "help") == 0 || strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0)
		return command_help(argc > 2 ? argv[2] : NULL);
	return unknown_command(command);
}
