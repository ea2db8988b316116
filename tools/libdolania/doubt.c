/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doubt.c - a guest that does not get up: is it that this KVM cannot boot a Linux at
 * all (see kvm-probe.h)?  Asked once, and only then, because it takes a VM.
 */
#include <fcntl.h>

#include "tools/libdolania/internal.h"
#include "tools/setup/kvm-probe.h"

bool kvm_is_unfit(struct session *s)
{
	int kvm;

	if (s->kvm_asked)
		return s->kvm_unfit[0] != '\0';
	s->kvm_asked = true;
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0 || kvm_probe(kvm, s->kvm_unfit, sizeof(s->kvm_unfit)) != KVM_ANSWER_NO)
		s->kvm_unfit[0] = '\0';	/* it wrote why it can, or why it could not say */
	fd_close(&kvm);
	return s->kvm_unfit[0] != '\0';
}
