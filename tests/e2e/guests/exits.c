/* An init that is no init: it ends, and the kernel panics. */
int main(void)
{
	return 3;
}
