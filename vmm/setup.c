/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Build the machine, then lock the door: when setup_machine() returns, /dev/kvm,
 * kernel and initrd are closed and the jail is entered.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/boot/fdt.h"
#include "vmm/boot/layout.h"
#include "vmm/boot/params.h"
#include "vmm/jail/jail.h"
#include "vmm/state.h"

/*
 * panic=-1 reboot=t: a panic is an immediate triple fault, which ends the run.
 * tsc=reliable no_timer_check: there is no other clock to compare with.
 */
#define TEXT(number) #number
#define CMDLINE_PORT(number) "ram_port=" TEXT(number)
#define CMDLINE "panic=-1 reboot=t loglevel=5 tsc=reliable no_timer_check rdinit=/init " CMDLINE_PORT(LAYOUT_RAM_PORT)

/* Of the thread's CPU time; a kernel's own tick, 1 to 4 ms, may make it later. */
enum { TICK_NS = 2000000 };
enum { WALL_TICK_NS = 5000000 };

static enum err fail(struct run *r, enum err err, const char *why)
{
	enum report_end end = REPORT_END_HOST_UNSUPPORTED;

	if (err == ERR_USAGE || err == ERR_LIMIT)
		end = REPORT_END_BOOT_FAILED;
	else if (err == ERR_HOST && errno == ENOMEM)
		end = REPORT_END_HOST_OOM;
	run_end(r, end, err == ERR_HOST ? errno : 0, why);
	return err;
}

/* A signal of our own for each pipe that becomes ready; see loop.c. */
static enum err signal_on_ready(int fd)
{
	int flags;

	if (fd < 0)
		return OK;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETOWN, getpid()) < 0 ||
	    fcntl(fd, F_SETFL, flags | O_ASYNC | O_NONBLOCK) < 0)
		return ERR_HOST;
	return OK;
}

static enum err setup_signals(struct run *r)
{
	const int fds[] = { r->c->stdin_fd, r->c->stdout_fd, r->c->stderr_fd, r->c->out_fd };
	struct sigevent wall = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM };
	struct sigevent tick = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGVTALRM };
	sigset_t blocked;

	sigemptyset(&r->signals);
	sigaddset(&r->signals, SIGIO);
	sigaddset(&r->signals, SIGALRM);
	sigaddset(&r->signals, SIGVTALRM);
	sigaddset(&r->signals, SIGTERM);
	sigaddset(&r->signals, SIGTSTP);
	/* The terminal's signals are the supervisor's to act on; SIGPIPE is EPIPE; SIGCONT is waited for in loop.c. */
	blocked = r->signals;
	sigaddset(&blocked, SIGCONT);
	sigaddset(&blocked, SIGINT);
	sigaddset(&blocked, SIGQUIT);
	sigaddset(&blocked, SIGHUP);
	sigaddset(&blocked, SIGPIPE);
	if (sigprocmask(SIG_BLOCK, &blocked, NULL) < 0)
		return fail(r, ERR_HOST, "blocking signals failed");
	/* When the supervisor dies, the guest ends and its memory is overwritten. */
	if (prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0) < 0)
		return fail(r, ERR_HOST, "PR_SET_PDEATHSIG was refused");
	/* If it died before that, nobody reads our notices any more. */
	if (r->c->notice_fd >= 0) {
		struct pollfd notice = { .fd = r->c->notice_fd };

		if (poll(&notice, 1, 0) > 0 && notice.revents & POLLERR)
			return fail(r, ERR_HOST, "the supervisor is gone");
	}
	if (timer_create(CLOCK_MONOTONIC, &wall, &r->wall) < 0 || timer_create(CLOCK_MONOTONIC, &wall, &r->boot) < 0 ||
	    timer_create(CLOCK_THREAD_CPUTIME_ID, &tick, &r->tick) < 0)
		return fail(r, ERR_HOST, "timer_create failed");
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (signal_on_ready(fds[i]) != OK)
			return fail(r, ERR_HOST, "making a pipe raise SIGIO failed");
	return OK;
}

static enum err setup_devices(struct run *r)
{
	static const unsigned ring_of[WIRE_PORTS] = { [WIRE_STDOUT] = 1, [WIRE_STDERR] = 2, [WIRE_OUT] = 3 };
	const int in[WIRE_PORTS] = { -1, r->c->job_fd, r->c->stdin_fd, -1, -1, -1 };
	const int out[WIRE_PORTS] = { -1, -1, -1, r->c->stdout_fd, r->c->stderr_fd, r->c->out_fd };
	struct bus_config b = { .mem = &r->mem, .disks = r->c->disks, .raise = loop_raise,
				.frame = loop_frame, .over = loop_over, .ctx = r };
	enum err err;

	ioapic_init(&r->ioapic, 1 + r->c->disks, loop_msi, r);
	for (unsigned i = 0; i < r->c->disks; i++) {
		struct stat st;

		if (fstat(r->c->disk_fd[i], &st) < 0)
			return fail(r, ERR_HOST, "a disk image cannot be examined");
		b.disk[i].fd = r->c->disk_fd[i];
		b.disk[i].bytes = (uint64_t)st.st_size & ~511ull;
		b.disk[i].writable = r->c->disk_writable[i];
	}
	for (unsigned port = 1; port < WIRE_PORTS; port++) {
		struct vsock_port *p = &b.vsock.port[port];

		p->in_fd = in[port];
		p->out_fd = out[port];
		p->frames = port == WIRE_CONTROL;
		p->enabled = p->frames || p->in_fd >= 0 || p->out_fd >= 0;
		if (ring_of[port] > 0) {
			unsigned ring = ring_of[port] - 1;

			p->ring.data = (uint8_t *)r->page + REPORT_RING_OFF + ring * REPORT_RING_BYTES;
			p->ring.bytes = REPORT_RING_BYTES;
			p->ring.head = &r->page->ring[ring].head;
			p->ring.tail = &r->page->ring[ring].tail;
		}
	}
	err = bus_init(&r->bus, &b);
	return err == OK ? OK : fail(r, err, "the devices could not be set up");
}

static enum err setup_boot(struct run *r, struct image *kernel)
{
	static const char base[] = CMDLINE;
	char cmdline[LAYOUT_CMDLINE_BYTES] = CMDLINE;
	uint8_t tree[LAYOUT_DTB_BYTES];
	const struct fdt_machine machine = {
		.slots = 1 + r->c->disks, .window_base = BUS_BASE, .window_stride = BUS_STRIDE,
		.ioapic_base = IOAPIC_BASE, .lapic_base = LAYOUT_LAPIC,
		.log_base = LAYOUT_LOG, .log_bytes = LAYOUT_LOG_BYTES,
	};
	struct params p = { .cmdline = cmdline, .dtb = tree };
	const char *why = "the device tree does not fit";
	enum err err;

	gmem_use_large_pages(&r->mem, gpa(0), LAYOUT_DENSE_END);
	gmem_use_large_pages(&r->mem, gpa(LAYOUT_HEAP), GMEM_LARGE_PAGE);
	err = image_load_kernel(&r->mem, r->c->kernel_fd, kernel, &why);
	if (err == OK && r->c->initrd_fd >= 0)
		err = image_load_initrd(&r->mem, r->c->initrd_fd, kernel->end, &p.initrd_at,
					&p.initrd_bytes, &why);
	if (err != OK)
		return fail(r, err, why);
	if (r->c->cmdline != NULL) {
		size_t n = strlen(r->c->cmdline);

		if (n > sizeof(cmdline) - sizeof(base) - 1)
			return fail(r, ERR_USAGE, "the kernel command line is too long");
		cmdline[sizeof(base) - 1] = ' ';
		memcpy(cmdline + sizeof(base), r->c->cmdline, n + 1);
	}
	if (getrandom(p.seed, sizeof(p.seed), 0) != (ssize_t)sizeof(p.seed))
		return fail(r, ERR_HOST, "getrandom failed");
	err = fdt_build(&machine, tree, sizeof(tree), &p.dtb_bytes);
	err = err ? err : params_write(&r->mem, &p);
	memset(p.seed, 0, sizeof(p.seed));
	__asm__ volatile("" : : "r"(&p) : "memory");
	return err == OK ? OK : fail(r, err, "the boot parameters do not fit (kernel command line too long?)");
}

static enum err arm(timer_t timer, int flags, uint64_t ns, long again_ns)
{
	const struct itimerspec at = {
		.it_interval = { 0, again_ns },
		.it_value = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) },
	};

	return timer_settime(timer, flags, &at, NULL) < 0 ? ERR_HOST : OK;
}

/*
 * The wall limit counts from the script's start, which is not known yet, and no timer can be set once
 * the jail is closed: it ticks from the first moment that can be the end, and clock.c looks whether
 * it is.  CPU time counts from here; an idle guest has no ticks of it.
 */
static enum err arm_limits(struct run *r)
{
	enum err err = arm(r->boot, TIMER_ABSTIME, r->page->t_start + REPORT_BOOT_NS, 0);

	if (err == OK && r->c->wall_ns > 0)
		err = arm(r->wall, TIMER_ABSTIME, r->page->t_start + r->c->wall_ns, WALL_TICK_NS);
	r->cpu_start = thread_cpu_ns();
	return err ? err : arm(r->tick, 0, TICK_NS, TICK_NS);
}

enum err setup_machine(struct run *r)
{
	struct vcpu_start start = { .boot_params = LAYOUT_ZERO_PAGE, .page_tables = LAYOUT_PAGE_TABLES,
				    .gdt = LAYOUT_GDT };
	struct image kernel;
	const char *why = "guest memory could not be mapped";
	enum err err = setup_signals(r);

	if (err != OK)
		return err;
	err = gmem_map(&r->mem, r->c->ram_fd, r->c->ram_bytes);
	if (err == OK)
		r->page->locked = gmem_lock(r->mem.base, r->mem.bytes) && gmem_lock(r->page, REPORT_SHARED_BYTES);
	err = err ? err : vm_create(&r->vm, r->c->kvm_fd, &r->mem, 1 + r->c->disks, &why);
	if (err != OK)
		return fail(r, err, why);
	err = setup_boot(r, &kernel);
	err = err ? err : setup_devices(r);
	if (err != OK)
		return err;
	start.entry = kernel.entry;
	err = vcpu_setup(&r->vm, r->c->kvm_fd, &start, &why);
	err = err ? err : vcpu_signals(&r->vm, &r->signals, &why);
	if (err != OK)
		return fail(r, err, why);
	close(r->c->kvm_fd);
	close(r->c->kernel_fd);
	if (r->c->initrd_fd >= 0)
		close(r->c->initrd_fd);
	if (arm_limits(r) != OK)
		return fail(r, ERR_HOST, "a limit's timer could not be set");
	err = jail_enter(&why);
	return err == OK ? OK : fail(r, err, why);
}
