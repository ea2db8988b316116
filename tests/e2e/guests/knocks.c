/* Linked into our own init (--wrap=collect_exit): once the script has ended, init
 * tries two vsock ports that the host does not offer, and waits for a while. */
#include "knock.h"

struct wire_frame;
struct relay;
void __real_collect_exit(struct wire_frame *frame, const struct relay *relay);
void __wrap_collect_exit(struct wire_frame *frame, const struct relay *relay);

void __wrap_collect_exit(struct wire_frame *frame, const struct relay *relay)
{
	knock(77);
	knock(78);
	sleep(3);
	__real_collect_exit(frame, relay);
}
