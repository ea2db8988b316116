/* SPDX-License-Identifier: Apache-2.0 */
/* init.c - an init that ends at once, so that the kernel panics (tests). */
int main(void)
{
	return 0;
}
