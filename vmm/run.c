/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The story of a run: set up, loop, discard.
 *
 * The report page and the stream rings are in a memfd that the supervisor
 * holds too, as is guest RAM: whatever happens to this process, they can be
 * read and overwritten from outside.
 */
#include "vmm/run.h"

#include <string.h>
#include <sys/mman.h>

#include "vmm/boot/layout.h"
#include "vmm/mem/wipe.h"
#include "vmm/state.h"

/*
 * Keep the tail of the guest's kernel log.  The region is Linux's ramoops
 * console zone: { u32 signature, u32 start, u32 size, data[] }, a circle whose
 * next byte goes to `start`.  All of it is the guest's word.
 */
static void keep_log(struct run *r)
{
	enum { HEAD = 12, CAPACITY = LAYOUT_LOG_BYTES - HEAD };
	uint32_t g_head[3], end, size, n, from, first;

	if (gmem_read(&r->mem, gpa(LAYOUT_LOG), g_head, sizeof(g_head)) != OK)
		return;
	end = g_head[1];
	size = g_head[2];
	if (end > CAPACITY || size > CAPACITY)
		return;
	n = size < REPORT_LOG_BYTES ? size : REPORT_LOG_BYTES;
	from = (end + CAPACITY - n) % CAPACITY;
	first = n < CAPACITY - from ? n : CAPACITY - from;	/* up to the circle's seam */
	if (gmem_read(&r->mem, gpa(LAYOUT_LOG + HEAD + from), r->page->log, first) != OK ||
	    gmem_read(&r->mem, gpa(LAYOUT_LOG + HEAD), r->page->log + first, n - first) != OK)
		return;
	r->page->log_bytes = n;
}

static void count(struct run *r)
{
	for (unsigned port = 0; port < WIRE_PORTS; port++) {
		r->page->bytes_in[port] = r->bus.vsock.conn[port].bytes_in;
		r->page->bytes_out[port] = r->bus.vsock.conn[port].bytes_out;
	}
	for (unsigned i = 0; i < r->bus.slots && i < REPORT_DEVICES; i++) {
		const struct mmio_dev *d = &r->bus.dev[i];

		r->page->device[i] = (struct report_device){ d->accesses, d->kicks, mmio_chains(d) };
	}
	for (unsigned i = 0; i < r->c->disks && i < REPORT_DISKS; i++) {
		r->page->disk_read_bytes[i] = r->bus.blk[i].read_bytes;
		r->page->disk_write_bytes[i] = r->bus.blk[i].write_bytes;
	}
}

static void discard(struct run *r, bool has_vcpu)
{
	static const uint8_t none[4096];
	uint64_t start = report_now_ns(), held = 0, wiped = 0;
	bool cleared = true;

	/* The last entry first: KVM writes its clock into the guest's memory there, if the guest asked for that. */
	if (has_vcpu)
		cleared = gmem_write(&r->mem, gpa(0), none, sizeof(none)) == OK && vcpu_clear(&r->vm) &&
			  vcpu_flush(&r->vm, &r->signals);
	r->page->vcpu_cleared = cleared;

	/* On failure the supervisor finds bytes unwiped and does it itself. */
	if (wipe_ram(&r->mem, r->c->ram_fd, &held, &wiped) != OK)
		wiped = 0;
	r->page->touched_bytes = held;
	r->page->wiped_bytes = wiped;
	r->page->wipe_ns = report_now_ns() - start;
	report_phase(&r->report, REPORT_DISCARDED);
	/* The log, the rings and the disks are the supervisor's to read and wipe, while there is one. */
	if (r->report.alone) {
		memset(r->page, 0, REPORT_SHARED_BYTES);
		for (unsigned i = 0; i < r->c->disks; i++)
			if (r->c->disk_wipe[i])
				wipe_file(r->c->disk_fd[i]);
	}
	__asm__ volatile("" : : "r"(r->page) : "memory");
}

int run(const struct run_config *c)
{
	struct run r = { .c = c, .vm = { .vm_fd = -1, .vcpu_fd = -1 } };
	bool ready;

	r.page = mmap(NULL, REPORT_SHARED_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, c->shared_fd, 0);
	if (r.page == MAP_FAILED)
		return 1;
	report_start(&r.report, r.page, c->notice_fd);
	r.page->ram_bytes = c->ram_bytes;
	ready = setup_machine(&r) == OK;
	if (ready) {
		report_phase(&r.report, REPORT_BOOT);
		loop_guest(&r);
		r.page->vcpu_ns = thread_cpu_ns() - r.cpu_start;
		count(&r);
		keep_log(&r);
	}
	report_phase(&r.report, REPORT_ENDED);
	discard(&r, ready);
	return 0;
}
