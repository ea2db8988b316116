"""--scratch: a disk of the VM's own."""
from lib import run


def test_a_disk_of_its_own():
    """Its size is what was asked for, it is the script's, nothing on it is set-id, and it is empty."""
    r = run("--scratch", "8M", "-c",
            "ls -A /scratch | wc -l; df -k /scratch | tail -n 1; id -un; stat -c %U /scratch; "
            "grep ' /scratch ' /proc/mounts; mkdir /scratch/d && echo kept > /scratch/d/f && cat /scratch/d/f; "
            "cp /bin/busybox /scratch/echo && /scratch/echo runs; "
            "dd if=/dev/zero of=/scratch/full bs=64k; echo $?; stat -c %s /scratch/full; sync")
    lines = r.text.split("\n")
    assert r.code == 0 and lines[0] == "0" and lines[1].split()[3] == str(8 << 10), r
    assert lines[2] == lines[3] == "script" and "nosuid" in lines[4] and "nodev" in lines[4] and "ext2" in lines[4], r
    assert lines[5] == "kept" and lines[6] == "runs" and lines[7] == "1" and b"No space left" in r.err, r
    assert 6 << 20 < int(lines[8]) <= 8 << 20, r
    assert r.errtext.splitlines()[-1] == "dolania: note: /scratch is full (--scratch 8M); raise it with --scratch", r
    assert r.result["limits"]["scratch_bytes"] == 8 << 20
    assert r.result["host"]["discard"]["disk_bytes"] > 7 << 20 and r.result["host"]["discard"]["complete"], r


def test_it_is_not_the_scripts_memory():
    """More on the disk than --memory allows."""
    r = run("--scratch", "64M", "--memory", "16M", "-c", "dd if=/dev/zero of=/scratch/f bs=1M count=30; stat -c %s /scratch/f")
    assert r.code == 0 and r.text == "31457280\n", r
    assert "is full" not in r.errtext, r


def test_what_is_written_stays_in_memory_while_there_is_room():
    """Memory that the kernel has not set up yet is room, too: else files were written out at once, and clean ones dropped."""
    r = run("--scratch", "64M", "-c", "head -c 16m /dev/zero > /scratch/f")
    written = {d["role"]: d["write_bytes"] for d in r.result["host"]["disks"]}
    assert r.code == 0 and written["scratch"] < 1 << 20, (written, r)
    r = run("--scratch", "64M", "-c", "head -c 16m /dev/zero > /scratch/f; sync")
    written = {d["role"]: d["write_bytes"] for d in r.result["host"]["disks"]}
    assert r.code == 0 and written["scratch"] >= 16 << 20, (written, r)


def test_full_of_files():
    """No room is left where there are no more inodes, too."""
    r = run("--scratch", "1M", "-c", "cd /scratch; i=0; while echo -n 2>/dev/null >f$i; do i=$((i+1)); done; echo $i")
    assert r.code == 0 and 100 < int(r.text) < 400 and "note: /scratch is full" in r.errtext, r


def test_it_is_gone():
    """A second run finds nothing of the first; without the option there is no such disk."""
    assert run("--scratch", "1M", "-c", "echo canary > /scratch/f; sync").code == 0
    r = run("--scratch", "1M", "-c", "ls -A /scratch; grep -c canary /dev/vdb 2>&1 || true")
    assert "canary" not in r.text and r.text.count("\n") == 1, r
    r = run("-c", "grep -c ' /scratch ' /proc/mounts; echo x > /scratch/f")
    assert r.text == "0\n" and "Read-only" in r.errtext, r


def test_sizes():
    for size in ("1000", "64T"):
        r = run("--scratch", size, "-c", "true")
        assert (r.code, r.reason) == (125, "usage") and "--scratch" in r.errtext, r
    assert run("--scratch", "0", "-c", "true").code == 0
