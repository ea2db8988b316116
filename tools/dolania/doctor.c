/* SPDX-License-Identifier: Apache-2.0 */
/* doctor.c - what this host offers and lacks, and what to do about it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/kvm.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/dolania/command.h"
#include "tools/libdolania/cgroup.h"
#include "tools/libdolania/confine.h"
#include "tools/setup/kvm-probe.h"

enum verdict { FINE, WORSE, BROKEN };	/* WORSE: a run works, something else does not */

struct checkup {
	bool broken;
};

static void line(struct checkup *c, enum verdict v, const char *what, const char *found, const char *fix)
{
	static const char *const words[] = { "OK     ", "NOTE   ", "MISSING" };

	printf("%s  %s%s%s\n", words[v], what, found[0] != '\0' ? ": " : "", found);
	if (v != FINE && fix[0] != '\0')
		printf("         -> %s\n", fix);
	c->broken = c->broken || v == BROKEN;
}

static const struct {
	int number;
	const char *name, *why;
} capabilities[] = {
	{ KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY", "guest memory" },
	{ KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR", "real mode on Intel" },
	{ KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP", "interrupts (Linux 4.4)" },
	{ KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI", "interrupts" },
	{ KVM_CAP_TSC_DEADLINE_TIMER, "KVM_CAP_TSC_DEADLINE_TIMER", "the guest's timer" },
	{ KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT", "stopping in time (Linux 4.13)" },
	{ KVM_CAP_X86_USER_SPACE_MSR, "KVM_CAP_X86_USER_SPACE_MSR", "MSR allow-list (Linux 5.10)" },
	{ KVM_CAP_X86_MSR_FILTER, "KVM_CAP_X86_MSR_FILTER", "MSR allow-list (Linux 5.10)" },
};

static void check_kvm_features(struct checkup *c, int kvm)
{
	int version = ioctl(kvm, KVM_GET_API_VERSION, 0);
	char found[160];
	unsigned missing = 0;

	snprintf(found, sizeof(found), "%d", version);
	line(c, version == 12 ? FINE : BROKEN, "KVM API version", found, "dolania needs 12: use a newer Linux");
	for (size_t i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++) {
		if (ioctl(kvm, KVM_CHECK_EXTENSION, capabilities[i].number) > 0)
			continue;
		missing++;
		line(c, BROKEN, capabilities[i].name, capabilities[i].why, "use a newer Linux on the host");
	}
	if (missing == 0)
		line(c, FINE, "KVM capabilities", "all that are needed", "");
}

/* A way out for who has no KVM: in a checkout, which build/ tells of, by its path; it is not installed. */
static const char *emulated_host(char *to, size_t room)
{
	static const char ours[] = "build/libexec/dolania/dolania-vmm";
	struct dolania_paths p;
	char path[sizeof(p.vmm) + 32] = "";
	size_t n;

	if (dolania_locate(&p) == 0 && (n = strlen(p.vmm)) >= sizeof(ours) && strcmp(p.vmm + n - (sizeof(ours) - 1), ours) == 0)
		snprintf(path, sizeof(path), "%.*stools/kvm-host", (int)(n - (sizeof(ours) - 1)), p.vmm);
	if (path[0] != '\0' && access(path, X_OK) == 0)
		snprintf(to, room, "'%s -- COMMAND' runs COMMAND in an emulated KVM host", path);
	else
		snprintf(to, room, "get dolania's source tree: its tools/kvm-host, which is not installed, runs any command of "
			 "this system in an emulated KVM host (tools/kvm-host -- dolania run ...)");
	return to;
}

static void check_kvm(struct checkup *c)
{
	char why[256] = "", emulated[4096 + 256], fix[sizeof(emulated) + 256];
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (kvm < 0) {
		struct stat st;
		int error = errno;
		bool denied = error == EACCES || error == EPERM;
		bool group = stat("/dev/kvm", &st) == 0 && st.st_gid != 0 && (st.st_mode & 0060) == 0060;

		snprintf(fix, sizeof(fix), "enable virtualization (VT-x or AMD-V) in the firmware, then: sudo modprobe kvm_intel "
			 "(or kvm_amd); in a virtual machine ask its host for nested virtualization; without either, %s",
			 emulated_host(emulated, sizeof(emulated)));
		line(c, BROKEN, "/dev/kvm", strerror(error), denied && group ?
		     "join the group that owns it: sudo usermod -aG kvm \"$USER\", then log in again" :
		     denied ?
		     "let yourself in: sudo setfacl -m \"u:$USER:rw\" /dev/kvm (or chgrp it to a group of yours and chmod g+rw)" :
		     fix);
		return;
	}
	line(c, FINE, "/dev/kvm", "opens", "");
	check_kvm_features(c, kvm);
	snprintf(fix, sizeof(fix), "this KVM is a software one or a nested one that emulates guest kernel code; run on hardware "
		 "with VT-x or AMD-V; without it, %s", emulated_host(emulated, sizeof(emulated)));
	line(c, kvm_probe(kvm, why, sizeof(why)) == KVM_ANSWER_YES ? FINE : BROKEN, "KVM can boot Linux", why, fix);
	close(kvm);
}

static void check_linux(struct checkup *c)
{
	struct utsname u;
	unsigned major = 0, minor = 0;

	if (uname(&u) != 0 || sscanf(u.release, "%u.%u", &major, &minor) != 2)
		return;
	line(c, major > 5 || (major == 5 && minor >= 19) ? FINE : BROKEN, "Linux", u.release,
	     "dolania needs Linux 5.19 or newer (Landlock ABI 2)");
}

enum { CHILD_MS = 30000 };

/* As for a run: into new namespaces, the id maps, an empty root.  `why` has room for 160 bytes. */
static bool can_confine(char *why)
{
	const char *what = "the namespaces cannot be made";
	int go[2], pidfd = -1, status = 0, error = 0;
	pid_t pid;

	if (pipe2(go, O_CLOEXEC) < 0)
		return false;
	pid = confine_clone(&pidfd, -1);
	if (pid == 0) {
		close(go[1]);
		_exit(confine_enter(go[0], &what) == 0 ? 0 : errno & 127);
	}
	if (pid < 0 || confine_map(pid, go[1], &what) < 0)
		error = errno;
	close(go[0]);
	close(go[1]);
	if (pid > 0 && confine_reap(pid, pidfd, error == 0 ? CHILD_MS : 0, &status) != CONFINE_ENDED && error == 0) {
		what = "a process in them does not end";
		error = ETIMEDOUT;
	}
	if (pidfd >= 0)
		close(pidfd);
	if (error == 0 && WIFEXITED(status) && WEXITSTATUS(status) != 0) {
		what = "an empty root cannot be made in one";
		error = WEXITSTATUS(status);
	}
	snprintf(why, 160, "%s%s%s", error != 0 ? what : "", error != 0 ? ": " : "",
		 error != 0 ? strerror(error) : "");
	return error == 0 && pid > 0;
}

static void check_jail(struct checkup *c)
{
	unsigned action = SECCOMP_RET_KILL_PROCESS;
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	bool seccomp = syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
	char found[64], why[160] = "";

	line(c, can_confine(why) ? FINE : BROKEN, "user namespaces without privilege", why,
	     "Debian and others: sudo sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000; "
	     "Ubuntu: install the AppArmor profile share/dolania/apparmor/dolania (how: its first lines); "
	     "in a container: allow clone(2) with namespaces and mount(2) in them");
	snprintf(found, sizeof(found), "ABI %ld", abi > 0 ? abi : 0);
	line(c, abi >= 2 ? FINE : BROKEN, "Landlock", found, "the VMM's jail needs ABI 2 (Linux 5.19), and "
	     "'landlock' in the kernel's lsm= list");
	line(c, seccomp ? FINE : BROKEN, "seccomp", seccomp ? "filters" : "no filters",
	     "the VMM's jail needs a kernel with CONFIG_SECCOMP_FILTER");
}

/* The second wall around a run: made for real, and removed. */
static void check_cgroup(struct checkup *c)
{
	static const char start_in_one[] = "runs work without; to have it, run dolania as root or in a cgroup that is "
		"delegated to you: systemd-run --user --scope -p Delegate=yes dolania run ...";
	struct cgroup g;
	char found[256];
	bool made;

	cgroup_make(&g, 1 << 30);
	made = g.dir >= 0;
	snprintf(found, sizeof(found), "%s%s%s", made ? "each run has one, with a limit of memory" : g.why_not,
		 g.error != 0 ? ": " : "", g.error != 0 ? strerror(g.error) : "");
	line(c, made || g.callers_limit ? FINE : WORSE, "a cgroup of the VMM's own", found, start_in_one);
	cgroup_release(&g);
}

/* Where KVM remembers places without memory, each costs the host memory of its kernel. */
static void check_mmio_caching(struct checkup *c)
{
	char text[8] = "";
	int fd = open("/sys/module/kvm/parameters/mmio_caching", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		line(c, FINE, "kvm.mmio_caching", "this host does not say", "");
	else if (text[0] == 'Y')
		line(c, FINE, "kvm.mmio_caching", "on: KVM keeps a table entry for each place without memory that a "
		     "guest looks at; dolania counts them and ends a run that makes thousands", "");
	else
		line(c, FINE, "kvm.mmio_caching", "off: KVM keeps no table entries for places without memory", "");
	if (fd >= 0)
		close(fd);
}

static void check_memory(struct checkup *c)
{
	struct sysinfo si;
	char found[96];
	uint64_t free_mib;
	int fd = memfd_create("dolania-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	line(c, fd >= 0 ? FINE : BROKEN, "sealed memory files (memfd)", fd >= 0 ? "" : strerror(errno),
	     "allow memfd_create in this container or sandbox");
	if (fd >= 0)
		close(fd);
	if (sysinfo(&si) != 0)
		return;
	free_mib = ((uint64_t)si.freeram + si.bufferram) * si.mem_unit >> 20;
	snprintf(found, sizeof(found), "%llu MiB, at least %llu MiB free",
		 (unsigned long long)((uint64_t)si.totalram * si.mem_unit >> 20), (unsigned long long)free_mib);
	line(c, (uint64_t)si.totalram * si.mem_unit >> 20 >= 256 ? FINE : WORSE, "memory", found,
	     "use a smaller --memory");
}

static void check_file(struct checkup *c, const char *what, const char *path, const char *fix)
{
	bool there = access(path, R_OK) == 0;

	line(c, there ? FINE : BROKEN, what, path, fix);
}

static void check_files(struct checkup *c)
{
	struct dolania_paths p;
	char known[256];

	if (dolania_locate(&p) < 0) {
		line(c, BROKEN, "dolania's own files", "/proc/self/exe cannot be read", "mount /proc");
		return;
	}
	check_file(c, "VMM", p.vmm, "'make build' builds it");
	check_file(c, "guest kernel", p.kernel, "'make setup' builds it");
	check_file(c, "guest init", p.initrd, "'make build' builds it");
	dolania_list_runtimes(&p, known, sizeof(known));
	line(c, strcmp(known, "none") != 0 ? FINE : BROKEN, "runtimes", known, "'make setup' builds the images");
}

static void check_cache(struct checkup *c)
{
	char path[4096] = "", found[sizeof(path) + 64] = "none can be kept", size[32];
	uint64_t images, bytes;
	bool there = dolania_cache(path, sizeof(path), &images, &bytes) == 0;

	if (there && images == 0)
		snprintf(found, sizeof(found), "none yet in %s", path);
	else if (there)
		snprintf(found, sizeof(found), "%llu (%s) in %s; --in-cache bounds them", (unsigned long long)images,
			 dolania_format_bytes(bytes, size, sizeof(size)), path);
	line(c, there ? FINE : WORSE, "packed inputs of earlier runs", found, "each run packs its --in anew; let HOME or "
	     "XDG_CACHE_HOME name a directory that you can write");
}

/* A program of the host's that only some options need. */
static void check_tool(struct checkup *c, const char *name, const char *fix)
{
	static const char *const places[] = {
		"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin",
	};
	char path[64];

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", places[i], name);
		if (access(path, X_OK) == 0) {
			line(c, FINE, name, path, "");
			return;
		}
	}
	line(c, WORSE, name, "not installed", fix);
}

static void check_tools(struct checkup *c)
{
	check_tool(c, "mke2fs", "--out and --scratch need it: sudo apt install e2fsprogs");
}

/* What a run without options would be refused for, whatever the host can do. */
static void check_policy(struct checkup *c)
{
	static struct dolania_policy site, policy;
	const char *const *options = options_of_policies();
	char error[DOLANIA_LINE], found[DOLANIA_LINE];

	if (policy_site(&site, options, error) < 0 || policy_load(&policy, NULL, &site, options, error) < 0) {
		line(c, BROKEN, "policy", error, "every run is refused until that is mended");
		return;
	}
	snprintf(found, sizeof(found), "%s%s", policy.name,
		 site.file[0] != '\0' ? ", under the ceiling of " POLICY_SITE : "");
	if (policy_ids_are_mapped())
		line(c, WORSE, "policy", found, "this is a user namespace whose map is not the identity: a site's ceiling binds nobody "
		     "here who can make such a one");
	else
		line(c, FINE, "policy", found, "");
}

int doctor(void)
{
	struct checkup c = { false };

	setvbuf(stdout, NULL, _IOLBF, 0);
	check_linux(&c);
	check_kvm(&c);
	check_files(&c);
	check_memory(&c);
	check_tools(&c);
	check_jail(&c);
	check_cgroup(&c);
	check_mmio_caching(&c);
	check_policy(&c);
	check_cache(&c);
	printf(c.broken ? "\nA run cannot work here yet: see MISSING above.\n" : "\nRuns can work here.\n");
	return c.broken ? 1 : 0;
}
