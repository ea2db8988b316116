/* SPDX-License-Identifier: Apache-2.0 */
/* help.c - what the command says about itself; docs/man/dolania.1 says it at length. */
#include <stdio.h>
#include <string.h>

#include "tools/dolania/command.h"

static const char overview[] =
	"dolania runs one script in one virtual machine that is thrown away after it.\n"
	"\n"
	"  dolania run SCRIPT [ARG...]     run a script\n"
	"  dolania policy show|check|list|table\n"
	"                                  what a run may use at most, and who says so\n"
	"  dolania doctor                  what this host offers and lacks, and what to do\n"
	"  dolania completion SHELL        what bash, zsh or fish completes our options with\n"
	"  dolania version\n"
	"  dolania help [COMMAND]\n"
	"\n"
	"'dolania help run' lists the options; dolania(1) is the manual.\n";

static const char run[] =
	"usage: dolania run [options] FILE [ARG...]       a script ('-': read it from stdin); all after FILE is its own\n"
	"       dolania run [options] -c CODE [-- ARG...] code on the command line\n"
	"       dolania run [options] --exec -- PROG [ARG...]   a program that is in the image\n"
	"\n"
	"What the script gets\n"
	"  --runtime NAME|IMAGE  base, python, node, python-data, toolchain, or the path of an EROFS image\n"
	"                        (default: from '#!', else from the suffix, else base)\n"
	"  --env NAME=VALUE      add to its environment (nothing is inherited)\n"
	"  --chdir DIR           start in DIR of the guest (default /work)\n"
	"  --in PATH[:/PLACE]    show a copy of a host's file or directory, read-only, at /in (repeatable)\n"
	"  --work DIR            start in a writable copy of DIR at /work; the host's DIR stays as it is\n"
	"  --in-cache SIZE|off   keep packed inputs for later runs (default 1G)\n"
	"  --loopback            a kernel with 127.0.0.1 (there is no other network either way)\n"
	"  -i                    pass a terminal on as stdin (pipes and files always are)\n"
	"\n"
	"Limits (the defaults are those of the policy 'standard')\n"
	"  --policy NAME|FILE    what the run may have: standard, provisional, trusted, or a file\n"
	"  --execute WHAT        image-only: nothing but the image's programs; or anywhere (default)\n"
	"  --wall TIME           end after TIME: 500ms, 90s, 5m, off (default 60s; also --timeout)\n"
	"  --cpu-time TIME       end after TIME of CPU, guest and devices together (default off)\n"
	"  --memory SIZE         memory of the script (default 512M, from 16M on)\n"
	"  --tmp SIZE            room in /tmp and /work (default 64M)\n"
	"  --disk SIZE           room in /out, with --out (default 100M)\n"
	"  --scratch SIZE        a disk at /scratch, gone with the run (default none)\n"
	"  --fsize SIZE          size of one file (default off)\n"
	"  --output SIZE         pass on so much of stdout and of stderr (default 10M)\n"
	"  --pids N              processes at once (default 128)\n"
	"  --open-files N        open files of a process (default 1024)\n"
	"\n"
	"What comes back\n"
	"  --out DIR|FILE.tar    what the script leaves in /out, also after a limit; nothing is overwritten\n"
	"  --result FILE         write the result as JSON (docs/result.md); --result-fd N: to a descriptor\n"
	"  --meta FILE           write the end as the isolate judge does: status, time, time-wall, ...\n"
	"  --events FILE         append a JSON line for each oddity of the guest, as it happens\n"
	"  --exit-code MODE      mirror: the script's status, 124 at a limit, 125 for host trouble (default)\n"
	"                        isolate: 0 success, 1 the script failed, 2 the host did\n"
	"                        zero: 0 whenever the script was run\n"
	"  --quiet, -q           say nothing about how the script ended, nor of the progress\n"
	"\n"
	"For people who work on the guest\n"
	"  --kernel FILE  --initrd FILE  --append TEXT\n";

static const char policy_help[] =
	"usage: dolania policy show [NAME|FILE]   the effective values on this host, as a policy file\n"
	"       dolania policy check NAME|FILE    status 0, or what is wrong, with file and line\n"
	"       dolania policy list               the policies there are\n"
	"       dolania policy table              their limits side by side\n"
	"\n"
	"dolania-policy(5) is the manual of the files.\n";

static const char completion_help[] =
	"usage: dolania completion bash|zsh|fish\n"
	"\n"
	"Prints a script for that shell; 'make install' puts them where the shells look. Without it:\n"
	"  bash   source <(dolania completion bash)\n"
	"  zsh    source <(dolania completion zsh)\n"
	"  fish   dolania completion fish | source\n";

static const char doctor_help[] =
	"usage: dolania doctor\n"
	"\n"
	"Looks at what a run needs, one line each: OK, or MISSING and what to do about it.\n"
	"Status 0 if a run can work here, 1 if not.\n";

static const char version_help[] =
	"usage: dolania version\n"
	"\n"
	"Prints one line: dolania and its version. 'dolania --version' is the same.\n";

int help_print(const char *command)
{
	static const struct {
		const char *command, *text;
	} pages[] = {
		{ "run", run },
		{ "policy", policy_help },
		{ "doctor", doctor_help },
		{ "completion", completion_help },
		{ "version", version_help },
		{ "help", overview },
		{ NULL, NULL },
	};
	const char *text = command == NULL ? overview : NULL;

	for (size_t i = 0; command != NULL && pages[i].command != NULL; i++)
		if (strcmp(command, pages[i].command) == 0)
			text = pages[i].text;
	if (text == NULL)
		return STATUS_USAGE;
	fputs(text, stdout);
	return fflush(stdout) == 0 ? 0 : STATUS_USAGE;
}
