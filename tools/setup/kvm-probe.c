/*
 * kvm-probe: see kvm-probe.h.
 *
 * What the guest controls here: nothing, the guest is the code below.
 *
 * Guest memory, 64 KiB at 0, all of it mapped by one 2 MiB page:
 *   0x1000 PML4  0x2000 PDPT  0x3000 PD  0x4000 GDT  0x5000 IDT
 *   0x6000 code  0x8000 top of stack     0x9000 data
 */
#define _GNU_SOURCE
#include "kvm-probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	MEM_SIZE = 0x10000,
	PML4 = 0x1000,
	PDPT = 0x2000,
	PD = 0x3000,
	GDT = 0x4000,
	IDT = 0x5000,
	CODE = 0x6000,
	STACK = 0x8000,
	DATA = 0x9000,
	INT3_HANDLER = 0x100, /* offset in the code */
	PORT = 0x80,
	TIME_LIMIT_S = 2,
	ANSWER_MS = 2000 * TIME_LIMIT_S,	/* its alarm has ended the child before */
	GONE_MS = 2000,
	XSAVE = 1 << 26, /* of CPUID leaf 1, ECX */
};

/* A test hides what its own processor has. */
#ifndef KVM_PROBE_HIDDEN
#define KVM_PROBE_HIDDEN 0u
#endif

/* Each step stores its number at 0x9800, so that a failure can be named. */
__asm__(".pushsection .rodata\n"
	".globl kvm_probe_code, kvm_probe_code_end\n"
	"kvm_probe_code:\n"
	"	movl	$1, 0x9800\n"
	"	xorl	%eax, %eax\n"
	"	xorl	%edx, %edx\n"
	"	movl	$7, %ebx\n"
	"	xorl	%ecx, %ecx\n"
	"	lock cmpxchg16b 0x9000\n"
	"	movl	$2, 0x9800\n"
	"	fxsave64 0x9100\n"
	"	movq	%cr4, %rax\n"
	"	btl	$18, %eax\n" /* OSXSAVE: not where the processor has no XSAVE */
	"	jnc	2f\n"
	"	movl	$3, 0x9800\n"
	"	movl	$3, %eax\n"
	"	xorl	%edx, %edx\n"
	"	xrstor64 0x9400\n"
	"2:	movl	$4, 0x9800\n"
	"	int3\n" /* the handler sets step 5 and leaves by iretq */
	"	movl	$6, 0x9800\n"
	"	movl	0x9000, %eax\n"
	"	outb	%al, $0x80\n"
	"1:	hlt\n"
	"	jmp	1b\n"
	"	.org	kvm_probe_code + 0x100\n"
	"	movl	$5, 0x9800\n"
	"	iretq\n"
	"kvm_probe_code_end:\n"
	".popsection\n");

extern const unsigned char kvm_probe_code[], kvm_probe_code_end[];

static const char *const step_name[] = {
	[0] = "entering 64-bit mode", [1] = "lock cmpxchg16b", [2] = "fxsave",
	[3] = "xrstor",		      [4] = "int3",	       [5] = "iretq",
	[6] = "out to a port",
};

struct probe {
	int vm;
	int vcpu;
	unsigned char *mem;
	struct kvm_run *run;
	size_t run_size;
	char *why;
	size_t why_size;
	int xsave;	/* its CPUID has XSAVE */
	int lacking;	/* the host had no memory or the like: no word on KVM */
};

static int say_no(struct probe *p, const char *what)
{
	p->lacking = errno == ENOMEM || errno == EMFILE || errno == ENFILE || errno == EAGAIN;
	snprintf(p->why, p->why_size, "%s: %s", what, strerror(errno));
	return 0;
}

static void put64(struct probe *p, unsigned addr, uint64_t value)
{
	memcpy(p->mem + addr, &value, sizeof(value));
}

static void fill_memory(struct probe *p)
{
	uint64_t handler = CODE + INT3_HANDLER;

	put64(p, PML4, PDPT | 3);
	put64(p, PDPT, PD | 3);
	put64(p, PD, 0x83); /* 2 MiB, present, writable */
	put64(p, GDT + 0x08, 0x00209b0000000000); /* 64-bit code */
	put64(p, GDT + 0x10, 0x0000930000000000); /* data */
	/* vector 3: present interrupt gate, selector 8 */
	put64(p, IDT + 3 * 16, (handler & 0xffff) | 8 << 16 | 0x8e00ULL << 32);
	memcpy(p->mem + CODE, kvm_probe_code,
	       (size_t)(kvm_probe_code_end - kvm_probe_code));
}

static int set_cpuid(struct probe *p, int kvm_fd)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entries[256];
	} cpuid;

	memset(&cpuid, 0, sizeof(cpuid));
	cpuid.head.nent = 256;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, &cpuid) != 0)
		return say_no(p, "KVM has no CPUID");
	for (unsigned i = 0; i < cpuid.head.nent && i < 256; i++) {
		if (cpuid.entries[i].function != 1)
			continue;
		cpuid.entries[i].ecx &= ~KVM_PROBE_HIDDEN;
		p->xsave = (cpuid.entries[i].ecx & XSAVE) != 0;
	}
	if (ioctl(p->vcpu, KVM_SET_CPUID2, &cpuid) != 0)
		return say_no(p, "KVM refused its own CPUID");
	return 1;
}

static int set_state(struct probe *p)
{
	struct kvm_segment code = { .limit = 0xffffffff, .selector = 8, .type = 11,
				    .present = 1, .s = 1, .l = 1, .g = 1 };
	struct kvm_segment data = { .limit = 0xffffffff, .selector = 16, .type = 3,
				    .present = 1, .s = 1, .db = 1, .g = 1 };
	struct kvm_segment task = { .limit = 0x67, .type = 11, .present = 1 };
	struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs[0] = { .xcr = 0, .value = 3 } };
	struct kvm_regs regs = { .rip = CODE, .rsp = STACK, .rflags = 2 };
	struct kvm_sregs s;

	if (ioctl(p->vcpu, KVM_GET_SREGS, &s) != 0)
		return say_no(p, "KVM_GET_SREGS");
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.tr = task;
	s.gdt.base = GDT;
	s.gdt.limit = 0x17;
	s.idt.base = IDT;
	s.idt.limit = 0xfff;
	s.cr3 = PML4;
	s.cr0 = 0x80050033; /* PG AM WP NE ET MP PE */
	s.cr4 = p->xsave ? 0x40620 : 0x620; /* OSXSAVE where there is XSAVE, OSXMMEXCPT OSFXSR PAE */
	s.efer = 0x500;	    /* LMA LME */
	if (ioctl(p->vcpu, KVM_SET_SREGS, &s) != 0)
		return say_no(p, "KVM_SET_SREGS");
	if (p->xsave && ioctl(p->vcpu, KVM_SET_XCRS, &xcrs) != 0)
		return say_no(p, "KVM_SET_XCRS");
	if (ioctl(p->vcpu, KVM_SET_REGS, &regs) != 0)
		return say_no(p, "KVM_SET_REGS");
	return 1;
}

static int set_up(struct probe *p, int kvm_fd)
{
	struct kvm_userspace_memory_region slot = { .memory_size = MEM_SIZE };
	struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args[0] = 24 };
	int run_size;

	if (ioctl(kvm_fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		return say_no(p, "not a KVM device");
	p->vm = ioctl(kvm_fd, KVM_CREATE_VM, 0);
	if (p->vm < 0)
		return say_no(p, "KVM_CREATE_VM");
	if (ioctl(p->vm, KVM_ENABLE_CAP, &split) != 0)
		return say_no(p, "KVM has no split irqchip");
	p->mem = mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p->mem == MAP_FAILED)
		return say_no(p, "memory");
	fill_memory(p);
	slot.userspace_addr = (uintptr_t)p->mem;
	if (ioctl(p->vm, KVM_SET_USER_MEMORY_REGION, &slot) != 0)
		return say_no(p, "KVM_SET_USER_MEMORY_REGION");
	p->vcpu = ioctl(p->vm, KVM_CREATE_VCPU, 0);
	if (p->vcpu < 0)
		return say_no(p, "KVM_CREATE_VCPU");
	run_size = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (run_size <= 0)
		return say_no(p, "KVM_GET_VCPU_MMAP_SIZE");
	p->run_size = (size_t)run_size;
	p->run = mmap(NULL, p->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, p->vcpu, 0);
	if (p->run == MAP_FAILED)
		return say_no(p, "mapping kvm_run");
	return set_cpuid(p, kvm_fd) && set_state(p);
}

static int judge(struct probe *p, int rc)
{
	unsigned step = p->mem[0x9800];
	const char *at = step < 7 ? step_name[step] : "?";

	if (rc != 0 && errno == EINTR)
		snprintf(p->why, p->why_size, "KVM hangs at '%s'", at);
	else if (rc != 0)
		snprintf(p->why, p->why_size, "KVM_RUN at '%s': %s", at, strerror(errno));
	else if (p->run->exit_reason == KVM_EXIT_IO && p->run->io.port == PORT && step == 6) {
		snprintf(p->why, p->why_size, "KVM runs what a Linux kernel needs");
		return 1;
	} else if (p->run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
		snprintf(p->why, p->why_size,
			 "KVM cannot run '%s' in a guest's kernel, so no ordinary Linux "
			 "boots in it (software virtualization without VMX or SVM?)", at);
	else
		snprintf(p->why, p->why_size, "KVM gave up at '%s' (exit reason %u)", at,
			 p->run->exit_reason);
	return 0;
}

static void on_alarm(int sig)
{
	(void)sig;
}

/* In the child process: its timer, its signal. */
static int run_limited(struct probe *p)
{
	struct sigaction act = { .sa_handler = on_alarm };
	/* Repeats, so that a signal just before KVM_RUN is not the only one. */
	struct itimerval limit = { { 0, 100000 }, { TIME_LIMIT_S, 0 } };
	sigset_t all;

	sigfillset(&all);
	sigdelset(&all, SIGALRM);
	sigprocmask(SIG_SETMASK, &all, NULL);
	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &limit, NULL);
	return judge(p, ioctl(p->vcpu, KVM_RUN, 0));
}

static enum kvm_answer probe(int kvm_fd, char *why, size_t why_size)
{
	struct probe p = { .vm = -1, .vcpu = -1, .mem = MAP_FAILED, .run = MAP_FAILED,
			   .why = why, .why_size = why_size };

	if (set_up(&p, kvm_fd) && run_limited(&p))
		return KVM_ANSWER_YES;
	return p.lacking ? KVM_ANSWER_NONE : KVM_ANSWER_NO;
}

/* The child's answer: one byte, then the line. */
static _Noreturn void answer(int kvm_fd, int to)
{
	char text[256];
	enum kvm_answer found;
	sigset_t alarm_only;

	/* Nothing of the caller's stays open in here, and setting up has an end, too. */
	for (int fd = 3; fd < 1024; fd++)
		if (fd != kvm_fd && fd != to)
			close(fd);
	signal(SIGALRM, SIG_DFL);
	sigemptyset(&alarm_only);
	sigaddset(&alarm_only, SIGALRM);
	sigprocmask(SIG_UNBLOCK, &alarm_only, NULL);
	alarm(TIME_LIMIT_S);
	found = probe(kvm_fd, text + 1, sizeof(text) - 1);

	text[0] = (char)found;
	_exit(write(to, text, 1 + strlen(text + 1)) < 0);
}

/*
 * The answer's bytes, or -1.  The end of the pipe is not waited for: another process may hold a copy of it,
 * and the child may be one that cannot be killed at once.
 */
static ssize_t read_answer(pid_t pid, int from, char *text, size_t room)
{
	struct pollfd p = { .fd = from, .events = POLLIN };
	ssize_t n = -1;

	while (poll(&p, 1, ANSWER_MS) < 0 && errno == EINTR)
		;
	if (p.revents != 0)
		n = read(from, text, room);
	kill(pid, SIGKILL);
	for (int ms = 0; ms < GONE_MS && waitpid(pid, NULL, WNOHANG) == 0; ms++)
		usleep(1000);
	return n;
}

enum kvm_answer kvm_probe(int kvm_fd, char *why, size_t why_size)
{
	char text[256] = "";
	ssize_t n = -1;
	int pipe_fd[2];
	pid_t pid;

	snprintf(why, why_size, "KVM could not be asked");
	if (pipe2(pipe_fd, O_CLOEXEC) < 0)
		return KVM_ANSWER_NONE;
	pid = fork();
	if (pid == 0)
		answer(kvm_fd, pipe_fd[1]);
	close(pipe_fd[1]);
	if (pid > 0)
		n = read_answer(pid, pipe_fd[0], text, sizeof(text) - 1);
	close(pipe_fd[0]);
	if (n < 1)
		return KVM_ANSWER_NONE;
	snprintf(why, why_size, "%s", text + 1);
	return (enum kvm_answer)(signed char)text[0];
}

#ifndef KVM_PROBE_NO_MAIN
/* Prints the reason; status 0: can, 1: cannot. */
int main(void)
{
	char why[256];
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	enum kvm_answer can = KVM_ANSWER_NO;

	if (fd >= 0) {
		can = kvm_probe(fd, why, sizeof(why));
		close(fd);
	} else if (errno == ENOENT) {
		snprintf(why, sizeof(why), "there is no /dev/kvm");
	} else {
		snprintf(why, sizeof(why), "/dev/kvm: %s%s", strerror(errno),
			 errno == EACCES ? " (be in group kvm)" : "");
	}
	puts(why);
	return can == KVM_ANSWER_YES ? 0 : 1;
}
#endif
