/* Tries a vsock port that the host does not offer. */
#include <linux/vm_sockets.h>
#include <sys/socket.h>
#include <unistd.h>

static void knock(unsigned port)
{
	struct sockaddr_vm to = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port };
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		_exit(9);	/* a panic: the test sees it */
	close(fd);
}
