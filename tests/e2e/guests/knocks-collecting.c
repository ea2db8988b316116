/* Linked into our own init (--wrap=collect_disk): in the second VM, which reads the disk of /out, init
 * tries a vsock port that the host does not offer once all is sent, and waits for a while. */
#include "knock.h"

struct wire_frame;
void __real_collect_disk(struct wire_frame *frame, int not_all);
void __wrap_collect_disk(struct wire_frame *frame, int not_all);

void __wrap_collect_disk(struct wire_frame *frame, int not_all)
{
	knock(77);
	sleep(3);
	__real_collect_disk(frame, not_all);
}
