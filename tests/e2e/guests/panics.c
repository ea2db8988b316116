/* Linked into our own init (--wrap=collect_exit): once the script has ended and
 * its output is sent, init ends instead of telling, and the kernel panics. */
#include <unistd.h>

struct wire_frame;
struct relay;
void __wrap_collect_exit(struct wire_frame *frame, const struct relay *relay);

void __wrap_collect_exit(struct wire_frame *frame, const struct relay *relay)
{
	(void)frame;
	(void)relay;
	_exit(9);
}
