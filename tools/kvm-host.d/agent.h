/* Shared by the parts of the agent; theory of operation in agent.c. */
#ifndef KVM_HOST_AGENT_H
#define KVM_HOST_AGENT_H

#include <stddef.h>
#include <sys/types.h>

enum { PORT_CTL = 1, PORT_IN, PORT_OUT, PORT_ERR, PORT_DUMP };

struct job {
	const char *checkout;
	const char *cwd;
	uid_t uid;
	gid_t gid;
	size_t ngroups;
	gid_t groups[64];
	char **argv;
	char **env;
};

/* agent.c: the control port. fail() says what and errno, and never returns. */
extern int ctl_fd;
extern int on_wire; /* Bochs: no virtio, no 9p */
void ctl_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void fail(const char *what);
int port_open(int nr, int flags);

/* wire.c: the ports of a machine without virtio, which has the file /wire in its initramfs. */
void wire_start(const char *disk);
int wire_port(int nr);

/* machine.c: modules, mounts, /dev. */
void load_modules(void);
void machine_set_up(const struct job *job);

/* relay.c: runs COMMAND, passes its streams, says how it ended. */
void run_command(const struct job *job);

#endif
