/*
 * agent: PID 1 of the emulated KVM host.
 *
 * Theory of operation.  tools/kvm-host starts QEMU with a Debian kernel and an
 * initramfs that holds this program and a few modules.  The agent
 *   1. loads the modules named in /modules.list, in that order;
 *   2. reads one job from the control port: checkout, cwd, ids, argv, env;
 *   3. mounts the machine's own root (9p, read-only) under a tmpfs overlay, and
 *      the checkout read-write at its own path, and makes that the root;
 *   4. runs COMMAND with three pipes and relays them to three virtio ports;
 *   5. says how COMMAND ended and how many bytes it wrote, and waits for the
 *      plug to be pulled, so that memory can be dumped from outside first.
 *
 * Ports (virtio-serial, by number): 1 control, 2 stdin, 3 stdout, 4 stderr,
 * 5 dump requests (used by COMMAND itself, not by the agent).
 * To the guest: control carries u32 length + job, then one byte a signal;
 * stdin carries u32 length + bytes, length 0 is end of file.
 * From the guest: control carries lines: "ready", "exit STATUS OUT ERR",
 * "fail TEXT".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PORT_CTL = 1, PORT_IN, PORT_OUT, PORT_ERR, PORT_DUMP };
enum { CHUNK = 1 << 16, JOB_MAX = 8 << 20 };

static int ctl_fd = -1;

struct job {
	const char *checkout;
	const char *cwd;
	uid_t uid;
	gid_t gid;
	size_t ngroups;
	gid_t groups[64];
	char **argv;
	char **env;
};

/* One direction of one stream. */
struct flow {
	int from;
	int to;
	size_t have; /* bytes in buf */
	size_t done; /* bytes of them already written */
	uint64_t total;
	char buf[CHUNK];
};

static void ctl_say(const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (n > (int)sizeof(line) - 1)
		n = (int)sizeof(line) - 1;
	for (int done = 0; ctl_fd >= 0 && done < n;) {
		ssize_t w = write(ctl_fd, line + done, (size_t)(n - done));
		if (w > 0)
			done += (int)w;
		else
			usleep(1000);
	}
}

static _Noreturn void wait_for_the_plug(void)
{
	for (;;)
		pause();
}

static _Noreturn void fail(const char *what)
{
	int e = errno;

	fprintf(stderr, "kvm-host agent: %s: %s\n", what, strerror(e));
	ctl_say("fail %s: %s\n", what, strerror(e));
	wait_for_the_plug();
}

static void must_mount(const char *src, const char *dst, const char *type,
		       unsigned long flags, const char *data)
{
	if (mount(src, dst, type, flags, data) != 0)
		fail(dst);
}

/* ---- start-up ---------------------------------------------------------- */

static void load_modules(void)
{
	char path[256];
	FILE *f = fopen("/modules.list", "re");

	if (!f)
		fail("/modules.list");
	while (fgets(path, sizeof(path), f)) {
		path[strcspn(path, "\n")] = 0;
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			fail(path);
		if (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST)
			fail(path);
		close(fd);
	}
	fclose(f);
}

static int port_open(int nr, int flags)
{
	char path[32];

	snprintf(path, sizeof(path), "/dev/vport0p%d", nr);
	for (int i = 0; i < 10000; i++) {
		int fd = open(path, flags | O_CLOEXEC);
		if (fd >= 0)
			return fd;
		usleep(500);
	}
	fail(path);
}

/* Reads exactly n bytes; 0 or EAGAIN only mean "not yet" on a port. */
static void port_read_full(int fd, void *buf, size_t n)
{
	for (size_t done = 0; done < n;) {
		ssize_t r = read(fd, (char *)buf + done, n - done);
		if (r > 0)
			done += (size_t)r;
		else if (r == 0 || errno == EAGAIN)
			usleep(1000);
		else
			fail("control port");
	}
}

static char *next_string(char **at, char *end)
{
	char *s = *at;
	char *nul = s < end ? memchr(s, 0, (size_t)(end - s)) : NULL;

	if (!nul) {
		errno = EPROTO;
		fail("job");
	}
	*at = nul + 1;
	return s;
}

static unsigned long next_number(char **at, char *end)
{
	return strtoul(next_string(at, end), NULL, 10);
}

static char **next_list(char **at, char *end)
{
	size_t n = next_number(at, end);
	char **list = calloc(n + 1, sizeof(*list));

	if (!list)
		fail("job");
	for (size_t i = 0; i < n; i++)
		list[i] = next_string(at, end);
	return list;
}

static void read_job(struct job *job)
{
	uint32_t len = 0;

	port_read_full(ctl_fd, &len, sizeof(len));
	if (len > JOB_MAX) {
		errno = EMSGSIZE;
		fail("job");
	}
	char *at = malloc(len);
	if (!at)
		fail("job");
	port_read_full(ctl_fd, at, len);
	char *end = at + len;

	job->checkout = next_string(&at, end);
	job->cwd = next_string(&at, end);
	job->uid = (uid_t)next_number(&at, end);
	job->gid = (gid_t)next_number(&at, end);
	char **groups = next_list(&at, end);
	for (job->ngroups = 0; groups[job->ngroups] && job->ngroups < 64; job->ngroups++)
		job->groups[job->ngroups] = (gid_t)strtoul(groups[job->ngroups], NULL, 10);
	free(groups);
	job->argv = next_list(&at, end);
	job->env = next_list(&at, end);
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		fprintf(stderr, "kvm-host agent: %s: %s\n", path, strerror(errno));
	close(fd);
}

static void loopback_up(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { .ifr_name = "lo" };

	if (fd < 0)
		return;
	ifr.ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(fd, SIOCSIFFLAGS, &ifr) != 0)
		fprintf(stderr, "kvm-host agent: lo: %s\n", strerror(errno));
	close(fd);
}

/* The names udev would make, which is not running here. */
static void make_dev_names(void)
{
	static const char *const links[][2] = {
		{ "/proc/self/fd", "/dev/fd" },
		{ "/proc/self/fd/0", "/dev/stdin" },
		{ "/proc/self/fd/1", "/dev/stdout" },
		{ "/proc/self/fd/2", "/dev/stderr" },
		{ "pts/ptmx", "/dev/ptmx" },
		{ "../vport0p5", "/dev/virtio-ports/dolania.dump" },
	};

	mkdir("/dev/virtio-ports", 0755);
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		unlink(links[i][1]);
		if (symlink(links[i][0], links[i][1]) != 0)
			fail(links[i][1]);
	}
	chmod("/dev/kvm", 0666);
	chmod("/dev/vport0p5", 0666);
}

#define P9 "trans=virtio,version=9p2000.L,msize=512000,access=any,"

/* The machine's root, made safe: nothing written reaches it but the checkout. */
static void make_root(const struct job *job)
{
	char path[4096];

	mkdir("/ro", 0755);
	mkdir("/rw", 0755);
	mkdir("/root", 0755);
	must_mount("root", "/ro", "9p", MS_RDONLY, P9 "cache=loose");
	must_mount("rw", "/rw", "tmpfs", 0, "mode=0755,size=75%");
	mkdir("/rw/upper", 0755);
	mkdir("/rw/work", 0755);
	must_mount("root", "/root", "overlay", 0,
		   "lowerdir=/ro,upperdir=/rw/upper,workdir=/rw/work,xino=off");
	snprintf(path, sizeof(path), "/root%s", job->checkout);
	must_mount("checkout", path, "9p", 0, P9 "cache=loose");
}

static void enter_root(void)
{
	if (chdir("/root") != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 ||
	    chroot(".") != 0 || chdir("/") != 0)
		fail("switch root");
	must_mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "");
	must_mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "");
	must_mount("dev", "/dev", "devtmpfs", MS_NOSUID, "mode=0755");
	mkdir("/dev/pts", 0755);
	mkdir("/dev/shm", 01777);
	must_mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
		   "mode=0620,ptmxmode=0666,gid=5");
	must_mount("shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
	must_mount("run", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755");
	must_mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, "nsdelegate");
	write_file("/sys/fs/cgroup/cgroup.subtree_control", "+cpu");
	write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	write_file("/sys/fs/cgroup/cgroup.subtree_control", "+pids");
}

/* /tmp is last, and not where it would hide the checkout. */
static void mount_tmp(const struct job *job)
{
	static const char *const dirs[] = { "/tmp", "/var/tmp" };

	for (size_t i = 0; i < 2; i++) {
		size_t n = strlen(dirs[i]);
		if (strncmp(job->checkout, dirs[i], n) == 0 &&
		    (job->checkout[n] == '/' || job->checkout[n] == 0))
			continue;
		must_mount("tmp", dirs[i], "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
	}
}

/* ---- COMMAND ----------------------------------------------------------- */

static _Noreturn void child_exec(const struct job *job, int in, int out, int err)
{
	sigset_t none;

	setsid();
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
		_exit(125);
	syscall(SYS_close_range, 3, ~0U, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	umask(022);
	struct rlimit core = { 0, RLIM_INFINITY };
	setrlimit(RLIMIT_CORE, &core);
	if (setgroups(job->ngroups, job->groups) != 0 ||
	    setresgid(job->gid, job->gid, job->gid) != 0 ||
	    setresuid(job->uid, job->uid, job->uid) != 0 || chdir(job->cwd) != 0) {
		fprintf(stderr, "kvm-host: cannot start in %s: %s\n", job->cwd,
			strerror(errno));
		_exit(125);
	}
	environ = job->env;
	execvp(job->argv[0], job->argv);
	int e = errno;
	fprintf(stderr, "kvm-host: %s: %s\n", job->argv[0], strerror(e));
	_exit(e == ENOENT ? 127 : 126);
}

static void make_pipe(int fds[2])
{
	if (pipe2(fds, O_CLOEXEC) != 0)
		fail("pipe");
	fcntl(fds[0], F_SETPIPE_SZ, 1 << 18);
}

static void set_nonblock(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

/* Moves what can be moved now.  Returns true as long as the flow is open. */
static int flow_move(struct flow *f)
{
	for (int rounds = 0; f->from >= 0 && rounds < 32; rounds++) {
		if (f->done == f->have) {
			ssize_t r = read(f->from, f->buf, sizeof(f->buf));
			if (r < 0)
				return 1;
			if (r == 0) {
				close(f->from);
				f->from = -1;
				return 0;
			}
			f->have = (size_t)r;
			f->done = 0;
		}
		ssize_t w = write(f->to, f->buf + f->done, f->have - f->done);
		if (w <= 0)
			return 1;
		f->done += (size_t)w;
		f->total += (uint64_t)w;
	}
	return f->from >= 0;
}

/* COMMAND has ended: pass on what lies in the pipe, wait for nobody else. */
static void flow_finish(struct flow *f)
{
	while (f->from >= 0) {
		if (f->done == f->have) {
			int lying = 0;
			ioctl(f->from, FIONREAD, &lying);
			if (lying == 0)
				return;
		}
		flow_move(f);
		if (f->done < f->have) {
			struct pollfd p = { .fd = f->to, .events = POLLOUT };
			poll(&p, 1, 10);
		}
	}
}

/* stdin: frames from the port into the pipe. */
struct input {
	struct flow f;
	uint32_t frame; /* bytes left in the frame */
	uint32_t head_have;
	unsigned char head[4];
};

static void input_close(struct input *in)
{
	if (in->f.to >= 0)
		close(in->f.to);
	in->f.to = -1;
}

/* Returns 1 when it got something, 0 when the port has nothing now. */
static int input_fill(struct input *in)
{
	if (in->frame == 0) {
		ssize_t r = read(in->f.from, in->head + in->head_have, 4 - in->head_have);
		if (r <= 0)
			return 0;
		in->head_have += (uint32_t)r;
		if (in->head_have < 4)
			return 1;
		memcpy(&in->frame, in->head, 4);
		in->head_have = 0;
		if (in->frame == 0)
			input_close(in);
		return 1;
	}
	size_t want = in->frame < CHUNK ? in->frame : CHUNK;
	ssize_t r = read(in->f.from, in->f.buf, want);
	if (r <= 0)
		return 0;
	in->f.have = (size_t)r;
	in->f.done = 0;
	in->frame -= (uint32_t)r;
	return 1;
}

static void input_move(struct input *in)
{
	for (int rounds = 0; in->f.to >= 0 && rounds < 32; rounds++) {
		if (in->f.done == in->f.have) {
			if (!input_fill(in))
				return;
			continue;
		}
		ssize_t w = write(in->f.to, in->f.buf + in->f.done, in->f.have - in->f.done);
		if (w > 0)
			in->f.done += (size_t)w;
		else if (errno == EAGAIN)
			return;
		else
			input_close(in);
	}
}

static void pass_signals(pid_t pid)
{
	unsigned char sig[16];
	ssize_t n = read(ctl_fd, sig, sizeof(sig));

	for (ssize_t i = 0; i < n; i++)
		if (kill(-pid, sig[i]) != 0)
			kill(pid, sig[i]);
}

/* Reaps everything that ended; true when COMMAND is among it. */
static int reap(int sfd, pid_t pid, int *status)
{
	struct signalfd_siginfo si[8];
	int st, found = 0;

	while (read(sfd, si, sizeof(si)) > 0)
		;
	for (pid_t p; (p = waitpid(-1, &st, WNOHANG)) > 0;) {
		if (p == pid) {
			*status = st;
			found = 1;
		}
	}
	return found;
}

static struct flow out, err;
static struct input in;

static int relay(pid_t pid, int sfd)
{
	int status = 0;

	for (;;) {
		int in_full = in.f.done < in.f.have;
		struct pollfd p[] = {
			{ .fd = sfd, .events = POLLIN },
			{ .fd = ctl_fd, .events = POLLIN },
			{ .fd = in.f.to < 0 ? -1 : in_full ? in.f.to : in.f.from,
			  .events = in_full ? POLLOUT : POLLIN },
			{ .fd = out.done < out.have ? out.to : out.from,
			  .events = out.done < out.have ? POLLOUT : POLLIN },
			{ .fd = err.done < err.have ? err.to : err.from,
			  .events = err.done < err.have ? POLLOUT : POLLIN },
		};

		if (out.from < 0 && out.done == out.have)
			p[3].fd = -1;
		if (err.from < 0 && err.done == err.have)
			p[4].fd = -1;
		if (poll(p, 5, -1) < 0 && errno != EINTR)
			fail("poll");
		if ((p[1].revents | p[2].revents) & POLLHUP)
			usleep(1000); /* the other side is not connected (yet) */
		if (p[1].revents & POLLIN)
			pass_signals(pid);
		input_move(&in);
		flow_move(&out);
		flow_move(&err);
		if ((p[0].revents & POLLIN) && reap(sfd, pid, &status))
			return status;
	}
}

static void run(const struct job *job)
{
	int pin[2], pout[2], perr[2];
	sigset_t chld;

	in.f.from = port_open(PORT_IN, O_RDONLY | O_NONBLOCK);
	out.to = port_open(PORT_OUT, O_WRONLY | O_NONBLOCK);
	err.to = port_open(PORT_ERR, O_WRONLY | O_NONBLOCK);
	make_pipe(pin);
	make_pipe(pout);
	make_pipe(perr);
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	int sfd = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
	if (sfd < 0)
		fail("signalfd");
	set_nonblock(ctl_fd);
	ctl_say("ready\n");

	pid_t pid = fork();
	if (pid < 0)
		fail("fork");
	if (pid == 0)
		child_exec(job, pin[0], pout[1], perr[1]);
	close(pin[0]);
	close(pout[1]);
	close(perr[1]);
	in.f.to = pin[1];
	out.from = pout[0];
	err.from = perr[0];
	set_nonblock(in.f.to);
	set_nonblock(out.from);
	set_nonblock(err.from);
	signal(SIGPIPE, SIG_IGN);

	int status = relay(pid, sfd);
	flow_finish(&out);
	flow_finish(&err);
	sync();
	ctl_say("exit %d %llu %llu\n", status, (unsigned long long)out.total,
		(unsigned long long)err.total);
}

int main(void)
{
	struct job job = { 0 };

	mkdir("/dev", 0755);
	mkdir("/sys", 0755);
	mkdir("/proc", 0755);
	if (mount("dev", "/dev", "devtmpfs", 0, "") != 0 && errno != EBUSY)
		fail("/dev");
	int con = open("/dev/console", O_RDWR);
	if (con >= 0) {
		dup2(con, 0);
		dup2(con, 1);
		dup2(con, 2);
		if (con > 2)
			close(con);
	}
	load_modules();
	ctl_fd = port_open(PORT_CTL, O_RDWR);
	read_job(&job);
	make_root(&job);
	enter_root();
	mount_tmp(&job);
	make_dev_names();
	loopback_up();
	if (sethostname("kvm-host", 8) != 0)
		fail("hostname");
	run(&job);
	wait_for_the_plug();
}
