/* An init that jumps to nowhere, and takes the kernel with it. */
int main(void)
{
	void (*volatile nowhere)(void) = (void (*)(void))8;

	nowhere();
	return 0;
}
