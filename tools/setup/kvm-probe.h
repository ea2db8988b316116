/*
 * Can this KVM boot an ordinary Linux kernel?
 *
 * A /dev/kvm that opens is no answer: software virtualization (kvm_pvm, for
 * one) runs the kernel of its guest through an instruction emulator that lacks
 * what Linux uses early.  So KVM itself is asked: a vCPU in 64-bit mode at CPL0
 * runs those instructions and says that it got to the end.
 */
#ifndef SETUP_KVM_PROBE_H
#define SETUP_KVM_PROBE_H

#include <stddef.h>

/*
 * kvm_fd: an open /dev/kvm, left open.  why: gets one line without a newline,
 * in either case.  Returns 1 if Linux can boot, 0 if not.  Takes a millisecond,
 * two seconds at most.  Uses SIGALRM and an interval timer for that time.
 */
int kvm_probe(int kvm_fd, char *why, size_t why_size);

#endif
