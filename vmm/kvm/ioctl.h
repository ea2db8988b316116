/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ioctl.h - one door for KVM's ioctls: musl declares the request an int, and
 * KVM's read requests have the top bit set; glibc declares it unsigned long.
 */
#ifndef DOLANIA_KVM_IOCTL_H
#define DOLANIA_KVM_IOCTL_H

#include <stdint.h>
#include <sys/ioctl.h>

#ifdef __GLIBC__	/* builds with SANITIZE */
typedef unsigned long ioctl_request_t;
#else
typedef int ioctl_request_t;
#endif

static inline int kvm_ioctl(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, (ioctl_request_t)(uint32_t)request, arg);
}

/* For the requests whose argument is a number. */
static inline int kvm_ioctl_value(int fd, unsigned long request, unsigned long value)
{
	return ioctl(fd, (ioctl_request_t)(uint32_t)request, value);
}

#endif
