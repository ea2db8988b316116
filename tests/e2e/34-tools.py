"""What the images' tools do: as GNU's do, or with an error; none crashes, and none gives half an answer."""
import os
import re

from lib import TOP, needs, run, scratch, write_file

PYTHON = "build/share/dolania/images/python.erofs"

# A command of a script's, and what it prints.
SAID = (
    ("TZ=Asia/Tokyo date -d @0 '+%H %Z'", "09 JST"),
    ("TZ=America/New_York date -d '2024-07-01 12:00 UTC' '+%H:%M %Z'", "08:00 EDT"),
    ("TZ=Asia/Tokyo bash -c 'printf \"%(%H %Z)T\" 0'", "09 JST"),
    ("date +%N | tr 0-9 d", "ddddddddd"),
    ("date -d '2024-02-28 +2 days' +%F", "2024-03-01"),
    ("date -u -d '1 Jan 2000 10:00' +%s.%3N", "946720800.000"),
    ("printf 12345678 | head -c 1K | tail -c +5; printf 1234567 | head -c -2", "567812345"),
    ("printf '10K\\n9M\\n2\\n' | sort -h | tr '\\n' ,", "2,10K,9M,"),
    ("printf 'v1.10\\nv1.9\\n' | sort -V | tr '\\n' ,", "v1.9,v1.10,"),
    ("echo one >f; sed -i s/one/two/ f; sed -i.bak -E 's/(t)w/\\1/;s/\\bto\\b/x/' f; cat f f.bak | tr '\\n' ,", "x,two,"),
    ("seq 4 | xargs -P 2 -n 1 echo | sort | tr '\\n' ,", "1,2,3,4,"),
    ("seq 3 -1 1 | tac | paste -sd+", "1+2+3"),
    ("timeout -k 1 0.2 sleep 50; echo $?", "124"),
    ("nproc", "1"),
    ("echo abc >f; stat -c '%s %A %U' f; stat --printf '%n' f", "4 -rw-r--r-- script\nf"),
    ("mkdir -p d; ln -s d l; readlink -f l/x; realpath --relative-to=/work/d /work/l/y", "/work/d/x\ny"),
    ("echo a1b22 | grep -oP '(?<=b)\\d+'", "22"),
    ("printf 'a\\nb\\n' | grep -c --include=x b", "1"),
    ("mkdir -p t/u; touch t/u/f; find t -type f -printf '%f %s\\n' -newermt 2000-01-01", "f 0"),
    ("echo x >f; tar --sort=name --mtime=@0 -czf a.tgz f; tar -tzf a.tgz; gzip -t a.tgz", "f"),
    ("echo x | gzip -n9 | gzip -dc; echo x | bzip2 | bunzip2", "x\nx"),
    ("echo 3 4 | awk '{ printf \"%d\", $1 * $2 }'", "12"),
    ("echo 'a,b' | cut -d, --output-delimiter=: -f1,2", "a:b"),
    ("printf 'a\\n' >f; printf 'b\\n' >g; diff -u --label f --label g f g | tail -n 2", "-a\n+b"),
    ("ls --time-style=+%Y -l /etc/passwd | cut -d' ' -f6", "2000"),
    ("env -S 'echo a b'", "a b"),
    ("numfmt --to=iec 2048; date -r /etc/passwd +%Y", "2.0K\n2000"),
    ("du -b --apparent-size /etc/hostname | cut -f1; df --output=target /tmp | tail -n 1", "8\n/tmp"),
)

# Nothing of a network, a daemon, a device or privileges: the shell says so.
ABSENT = ("wget", "curl", "ping", "nslookup", "telnet", "traceroute", "ftpget", "ssl_client", "insmod", "modprobe", "mount",
          "losetup", "init", "halt", "login", "su", "passwd", "crond", "syslogd", "rpm", "dpkg", "ash")

# No input, help, the option that crashes one that is not offered.
EVERY_APPLET = r"""
find /usr/bin /usr/sbin -lname '*busybox' -printf '%f\n' | sort >applets
wc -l <applets
echo x >f
for a in $(grep -vxE 'kill|killall|watch|top|vi|less|more|\[\[' applets); do
	for o in '' --help -T5; do
		busybox timeout -s KILL 2 $a $o </dev/null >o 2>e
		case $? in 13[1-6] | 139) echo "$a $o: crashes";; esac
		grep -q 'applet not found' e && echo "$a: not there"
	done
done
true
"""


def test_tools_do_as_gnu_does():
    script = "".join(f"echo '== {n}'\n( {command} ) 2>&1; echo\n" for n, (command, _) in enumerate(SAID))
    r = run("--exec", "--", "bash", "-c", script)
    said = re.split(r"^== \d+\n", r.text, flags=re.M)[1:]
    wrong = [(command, got, want) for (command, want), got in zip(SAID, said) if got.strip() != want]
    assert r.code == 0 and len(said) == len(SAID) and not wrong, wrong or r


def test_what_cannot_work_is_not_offered():
    r = run("-c", "".join(f"{a} -T5 http://example.org >&2; echo $?\n" for a in ABSENT))
    assert r.text.split() == ["127"] * len(ABSENT), r
    assert r.errtext.count("not found") == len(ABSENT), r


def test_no_applet_crashes():
    r = run("--wall", "230s", "-c", EVERY_APPLET, timeout=300)
    with open(os.path.join(TOP, "rootfs/applets"), encoding="utf-8") as f:
        listed = [w for line in f if not line.startswith("#") for w in line.split()]
    assert r.code == 0 and r.text.split("\n", 1)[1] == "", r
    assert len(listed) - 2 <= int(r.text.split()[0]) <= len(listed), r      # busybox itself is no link


test_no_applet_crashes.long = True


@needs(PYTHON)
def test_times_of_the_image_are_good_for_every_format():
    code = ("import zipfile, os; z = zipfile.ZipFile('/tmp/a.zip', 'w'); z.write('/etc/passwd'); z.close()\n"
            "print(zipfile.ZipFile('/tmp/a.zip').infolist()[0].date_time, {int(os.lstat(p).st_mtime) for p in "
            "('/etc', '/usr/bin/python3', '/usr/lib/python3.11/os.py', '/bin')})")
    r = run("--runtime", "python", "-c", code)
    assert (r.code, r.text) == (0, "(2000, 1, 1, 12, 0, 0) {946728000}\n"), r


@needs(PYTHON)
def test_python_by_either_name():
    for argv in (("python",), ("python3",), ("/usr/bin/env", "python"), ("sh", "-c", 'exec python "$@"', "sh")):
        r = run("--runtime", "python", "--exec", "--", *argv, "-c", "import zoneinfo; print(zoneinfo.ZoneInfo('Asia/Tokyo'))")
        assert (r.code, r.text) == (0, "Asia/Tokyo\n"), r
    with scratch() as d:
        r = run(write_file(d, "s", "#!/usr/bin/python\nprint(1)\n"))
        assert (r.code, r.text, r.result["runtime"]) == (0, "1\n", "python"), r
