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
 * In Bochs there is neither virtio nor 9p: wire.c stands in for the ports, and
 * the root and the checkout are two EROFS disks, with everything that is written
 * kept in memory.
 *
 * Ports (virtio-serial, by number): 1 control, 2 stdin, 3 stdout, 4 stderr,
 * 5 dump requests (used by COMMAND itself, not by the agent).
 * To the guest: control carries u32 length + job, then one byte a signal;
 * stdin carries u32 length + bytes, length 0 is end of file.
 * From the guest: control carries lines: "ready", "exit STATUS OUT ERR",
 * "fail TEXT".
 */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum { JOB_MAX = 8 << 20 };

int ctl_fd = -1;
int on_wire;

void ctl_say(const char *fmt, ...)
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

_Noreturn void fail(const char *what)
{
	int e = errno;

	fprintf(stderr, "kvm-host agent: %s: %s\n", what, strerror(e));
	ctl_say("fail %s: %s\n", what, strerror(e));
	wait_for_the_plug();
}

int port_open(int nr, int flags)
{
	char path[32];

	if (on_wire) {
		int fd = wire_port(nr);
		if (fd < 0 || (flags & O_NONBLOCK && fcntl(fd, F_SETFL, O_NONBLOCK) != 0))
			fail("the wire");
		return fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 ? fd : -1;
	}
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
	on_wire = access("/wire", F_OK) == 0;
	if (on_wire)
		wire_start("/dev/sdc");
	ctl_fd = port_open(PORT_CTL, O_RDWR);
	read_job(&job);
	machine_set_up(&job);
	run_command(&job);
	wait_for_the_plug();
}
