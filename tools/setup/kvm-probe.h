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
 * in any case.  Takes a millisecond, two seconds at most.  It is done in a child
 * process, so that signals and timers of the caller's are left alone.
 */
enum kvm_answer {
	KVM_ANSWER_NONE = -1,	/* it could not be found out */
	KVM_ANSWER_NO = 0,	/* no ordinary Linux can boot */
	KVM_ANSWER_YES = 1,
};
enum kvm_answer kvm_probe(int kvm_fd, char *why, size_t why_size);

#endif
