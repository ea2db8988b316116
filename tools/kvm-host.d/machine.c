/* Makes the emulated host a machine: modules, root, mounts, /dev, loopback. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/kvm.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void must_mount(const char *src, const char *dst, const char *type,
		       unsigned long flags, const char *data)
{
	if (mount(src, dst, type, flags, data) != 0)
		fail(dst);
}

void load_modules(void)
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
		/* last, as Bochs has none */
		{ "../vport0p5", "/dev/virtio-ports/dolania.dump" },
	};

	mkdir("/dev/virtio-ports", 0755);
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]) - (size_t)on_wire; i++) {
		unlink(links[i][1]);
		if (symlink(links[i][0], links[i][1]) != 0)
			fail(links[i][1]);
	}
	chmod("/dev/kvm", 0666);
	chmod("/dev/vport0p5", 0666);
}

#define P9 "trans=virtio,version=9p2000.L,msize=512000,access=any,"

/* The host's other users reach the checkout too, even below a closed /root; only this overlay is changed. */
static void open_way(char *path)
{
	struct stat st;

	for (char *end = strrchr(path, '/'); end > path; end = strrchr(path, '/')) {
		*end = '\0';
		if (stat(path, &st) == 0 && !(st.st_mode & S_IXOTH) && chmod(path, st.st_mode | S_IXOTH) != 0)
			fail(path);
	}
}

/* Bochs: the host's files and the checkout are disks, which several machines share. */
static void mount_disks(void)
{
	static const char *const disks[][2] = { { "/dev/sda", "/ro" }, { "/dev/sdb", "/checkout" } };

	for (size_t i = 0; i < 2; i++) {
		int fd = open(disks[i][0], O_RDONLY | O_CLOEXEC), one = 1;

		if (fd < 0 || ioctl(fd, BLKROSET, &one) != 0)
			fail(disks[i][0]);
		close(fd);
		mkdir(disks[i][1], 0755);
		must_mount(disks[i][0], disks[i][1], "erofs", MS_RDONLY, "");
	}
}

/* The machine's root, made safe: nothing written reaches it but the checkout. */
static void make_root(const struct job *job)
{
	char path[4096];

	mkdir("/ro", 0755);
	mkdir("/rw", 0755);
	mkdir("/root", 0755);
	if (on_wire)
		mount_disks();
	else
		must_mount("root", "/ro", "9p", MS_RDONLY, P9 "cache=loose");
	must_mount("rw", "/rw", "tmpfs", 0, "mode=0755,size=75%");
	mkdir("/rw/upper", 0755);
	mkdir("/rw/work", 0755);
	must_mount("root", "/root", "overlay", 0,
		   on_wire ? "lowerdir=/checkout:/ro,upperdir=/rw/upper,workdir=/rw/work,xino=off" :
			     "lowerdir=/ro,upperdir=/rw/upper,workdir=/rw/work,xino=off");
	snprintf(path, sizeof(path), "/root%s", job->checkout);
	if (!on_wire)
		must_mount("checkout", path, "9p", 0, P9 "cache=loose");
	open_way(path);
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

/*
 * Hold a VM and a vCPU, never run, for as long as the emulated host lives.
 * KVM patches code (static keys in the scheduler and in its LAPIC) when the
 * first of them appears and when the last is gone; with several emulated
 * processors, QEMU can run a stale piece of the patched code on another one,
 * and the host's kernel dies of an int3.
 */
static void hold_a_vm(void)
{
	struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { 1 } };
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);

	if (vm < 0 || ioctl(vm, KVM_ENABLE_CAP, &split) < 0 || ioctl(vm, KVM_CREATE_VCPU, 0) < 0)
		fprintf(stderr, "kvm-host agent: /dev/kvm: %s\n", strerror(errno));
	if (kvm >= 0)
		close(kvm);
	if (vm >= 0)
		fcntl(vm, F_SETFD, FD_CLOEXEC);
}

void machine_set_up(const struct job *job)
{
	make_root(job);
	enter_root();
	mount_tmp(job);
	make_dev_names();
	loopback_up();
	if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
		hold_a_vm();
	if (sethostname("kvm-host", 8) != 0)
		fail("hostname");
}
