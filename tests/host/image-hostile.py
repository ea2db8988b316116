"""tools/image: hostile and spoiled archives do nothing but fail.  No VM."""
import contextlib
import gzip
import json
import os
import shutil
import struct
import subprocess
import sys
import tarfile

from layouts import (LOWER, PACKERS, UPPER, Layout, config_of, digest, docker_save, entry, folder, hard, image, layer, link, tree,
                     write_tar)
from layouts import build_image as made
from lib import TOP, scratch, write_file


# Hostile layers: each must fail with these words.
def raw(name, kind=b"0", size=0, data=b"", target=b"", sum_=None):
    """A member with a header that no library would write."""
    h = bytearray(512)
    h[0:len(name)], h[100:107], h[156:157], h[157:157 + len(target)] = name, b"0000644", kind, target
    h[124:136] = size if isinstance(size, bytes) else b"%011o\0" % size
    h[257:265] = b"ustar\x0000"
    h[148:156] = b" " * 8
    h[148:156] = b"%06o\0 " % (sum(h) if sum_ is None else sum_)
    return bytes(h) + data + bytes(-len(data) % 512)


def pax(*records):
    body = b"".join(records)
    return raw(b"x", b"x", len(body), body)


END = bytes(1024)
HOSTILE_LAYERS = [
    (layer(entry("../canary/new", b"x")), "'..'"),
    (layer(entry("a/../../canary/new", b"x")), "'..'"),
    (layer(folder("a"), entry("a/../../../../tmp/dolania-escaped", b"x")), "'..'"),
    (layer(hard("h", "../../etc/passwd")), "'..'"),
    (layer(hard("h", "/etc/shadow")), "a hard link to /etc/shadow, which is no file in it"),
    (layer(link("l", "/etc"), hard("h", "l/shadow")), "which is no file in it"),
    (layer(folder("d"), hard("h", "d")), "which is no file in it"),
    (layer(entry("f", b""), entry("f/below", b"")), "is no directory"),
    (layer(link("a", "b"), link("b", "a"), entry("a/f", b"x")), "too many links"),
    (layer(link("a", "a/a"), entry("a/f", b"x")), "too many links"),
    (layer(*[link(f"{n}", "d/../" * 800 + f"{n + 1}") for n in range(39)], folder("d"), entry("0/f", b"")), "too many links"),
    (layer(entry("x" * 255, b"")), "a name of 255 bytes"),
    (layer(entry("d/" * 250 + "f", b"")), "deeper than 200"),
    (layer(entry("d/" * 3000, b"")), "a path of 6"),
    (layer(entry(".wh...", b"")), "a whiteout of nothing"),
    (layer(entry("a/.wh.", b"")), "a whiteout of nothing"),
    (layer(entry(".wh.a/b", b"")), "below a whiteout's name"),
    (layer(link("l", "")), "a link to nothing"),
    (layer(entry("\x1b]0;title\x07/../x", b"")), "'..'"),
    (raw(b"f", sum_=1) + END, "checksum"),
    (raw(b"f", size=1 << 30) + END, "truncated"),
    (raw(b"f", size=b"\x80" + b"\xff" * 11) + END, "is no size"),
    (raw(b"f", size=b"\xff" * 12) + END, "is no size"),
    (raw(b"f", size=b"99999999999\0") + END, "no number"),
    (raw(b"f", b"S") + END, "sparse"),
    (raw(b"f", b"V") + END, "unknown type"),
    (raw(b"g", b"L", 1 << 32) + END, "extended header"),
    (raw(b"g", b"L", 4096) + bytes(512), "truncated"),
    (pax(b"20 path=short\n") + raw(b"f") + END, "malformed"),
    (pax(b"nonsense") + raw(b"f") + END, "malformed"),
    (pax(b"9999999999999999999999 path=x\n") + raw(b"f") + END, "malformed"),
    (pax(b"14 path=a\0b/c\n") + raw(b"f") + END, "zero byte"),
    (pax(b"13 path=../a\n") + raw(b"f") + END, "'..'"),
    (pax(b"26 size=99999999999999999\n") + raw(b"f") + END, "truncated"),
    (pax(b"11 size=-1\n") + raw(b"f") + END, "no number"),
    (pax(b"22 GNU.sparse.major=1\n") + raw(b"f") + END, "sparse"),
    (raw(b"f") + b"half a header", "truncated"),
    (raw(b".", b"0") + END, "its root is no directory"),
    (b"this is no tar at all" * 100, "checksum"),
]


@contextlib.contextmanager
def canary():
    """A place beside others' files, which must all be as they were."""
    with scratch() as d:
        os.makedirs(os.path.join(d, "canary/below"))
        write_file(d, "canary/file", "canary")
        os.symlink("file", os.path.join(d, "canary/link"))
        os.mkdir(os.path.join(d, "here"))

        def state():
            return [(p, fs, [(f, os.lstat(os.path.join(p, f)).st_mtime_ns) for f in ns]) for p, fs, ns in
                    sorted(os.walk(os.path.join(d, "canary")))], sorted(os.listdir(d)), os.path.exists("/tmp/dolania-escaped")
        before = state()
        yield os.path.join(d, "here")
        assert state() == before, (before, state())


def refused(here, source, word, *args):
    """It ends with status 1 and one line with this word, and leaves nothing."""
    before = sorted(os.listdir(here))
    r = image(*args, "-o", f"{here}/i", source)
    said = r.stderr
    assert r.returncode == 1 and word in said and len(said.splitlines()) == 1, (word, r)
    assert "\x1b" not in said and "Traceback" not in said, said
    assert sorted(os.listdir(here)) == before, os.listdir(here)


def test_hostile_layers_are_refused_and_the_host_is_untouched():
    with canary() as here:
        for n, (data, word) in enumerate(HOSTILE_LAYERS):
            packer = ("", "+gzip")[n % 2]
            refused(here, Layout(LOWER, data, packer=packer).write(os.path.join(here, "l")), word)
            shutil.rmtree(os.path.join(here, "l"))
            if n % 4 == 0:
                refused(here, docker_save(os.path.join(here, "s.tar"), data), word)


def test_links_lead_nowhere_but_into_the_image():
    with canary() as here:
        up = "../" * 20
        found = tree(here, Layout(
            layer(link("abs", f"{here}/../canary"), link("up", f"{up}{here}/../canary"), link("root", "/"), link("dots", ".."),
                  link("opt", "/srv/x"), link("far", f"{up}srv/../srv/x")),
            layer(entry("abs/a", b"1"), entry("up/b", b"2"), entry("root/dots/c", b"3"), entry("abs/.wh.file"),
                  entry("up/.wh..wh..opq"), entry("opt/d", b"4"), entry("far/e", b"5"))).write(f"{here}/l"))
        assert found["c"] == "644 3" and found["srv/x/d"] == "644 4" and found["srv/x/e"] == "644 5", found


def test_devices_are_left_out():
    with canary() as here:
        kinds = (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
        data = layer(*[entry(f"etc/dev{n}", kind=k) for n, k in enumerate(kinds)], entry("f", b"x", mode=0o6755))
        source = Layout(data).write(f"{here}/l")
        _, said = made(here, source, name="o")
        assert "left out are 3 devices" in said, said
        found = tree(here, source)
        assert found["f"] == "755 x" and "etc/dev0" not in found


def spoiled(change):
    layout = Layout(LOWER, UPPER)
    change(layout)
    return layout


def replace_json(layout, **changes):
    config = json.loads(layout.files[layout.blob(layout.config)])
    config.update(changes)
    layout.config = layout.add_json(config, "application/vnd.oci.image.config.v1+json")
    layout.manifests = []
    layout.add_manifest("x")


def set_blob(layout, data):
    layout.files[layout.blob(layout.packed[0])] = data


def put_descriptor(layout, **changes):
    layout.packed[0] = dict(layout.packed[0], **changes)
    layout.manifests = []
    layout.add_manifest("x")


def repack(layout, change):
    packed = change(layout.files[layout.blob(layout.packed[0])])
    layout.packed[0] = layout.add(packed, "application/vnd.oci.image.layer.v1.tar+gzip")
    layout.manifests = []
    layout.add_manifest("x")


SPOILED = [
    (lambda x: set_blob(x, x.files[x.blob(x.packed[0])][:-1]), "it was truncated"),
    (lambda x: set_blob(x, x.files[x.blob(x.packed[0])][:-1] + b"!"), "it was changed"),
    (lambda x: x.files.pop(x.blob(x.packed[0])), "is not in it"),
    (lambda x: x.files.pop(x.blob(x.config)), "is not in it"),
    (lambda x: put_descriptor(x, digest="sha256:../../../../etc/passwd"), "not a sha256 digest"),
    (lambda x: put_descriptor(x, digest="sha512:" + "0" * 128), "not a sha256 digest"),
    (lambda x: put_descriptor(x, digest=7), "not a sha256 digest"),
    (lambda x: put_descriptor(x, size=None), "'size'"),
    (lambda x: put_descriptor(x, size=-1), "declared"),
    (lambda x: repack(x, lambda d: gzip.compress(gzip.decompress(d) + b"more")), "its configuration declares"),
    (lambda x: repack(x, lambda d: d[:-9]), "cut off"),
    (lambda x: repack(x, lambda d: d[:40] + bytes(20) + d[60:]), "damaged"),
    (lambda x: repack(x, lambda d: b"\x28\xb5\x2f\xfd" + d), "zstd stream is damaged"),
    (lambda x: replace_json(x, architecture="s390x"), "here is linux/amd64"),
    (lambda x: replace_json(x, rootfs={"diff_ids": []}), "2 layers, but its configuration has 0"),
    (lambda x: replace_json(x, rootfs=[]), "'rootfs'"),
    (lambda x: x.files.update({"index.json": b"[" * 100000}), "not JSON"),
    (lambda x: x.files.update({"index.json": b"[]"}), "not what an image has there"),
    (lambda x: x.files.update({"index.json": b'{"manifests": [1]}'}), "no object"),
    (lambda x: x.files.update({"index.json": b'{"manifests": []}'}), "no image for linux/amd64"),
    (lambda x: x.files.update({"index.json": b" " * (9 << 20)}), "too much for a description"),
    (lambda x: x.files.pop("index.json"), "neither an OCI image layout"),
]


def test_spoiled_layouts_are_refused():
    with canary() as here:
        for change, word in SPOILED:
            refused(here, spoiled(change).write(os.path.join(here, "l")), word)
            shutil.rmtree(os.path.join(here, "l"))


def test_spoiled_archives_are_refused():
    with canary() as here:
        def archive(*entries):
            return write_tar(os.path.join(here, "s.tar"), *entries)
        config = json.dumps(config_of([LOWER])).encode()
        good = entry(f"{digest(config)}.json", config)

        def manifest(**changes):
            value = [{"Config": f"{digest(config)}.json", "RepoTags": None, "Layers": ["l.tar"], **changes}]
            return entry("manifest.json", json.dumps(value).encode())
        for entries, word in (
                ([good, manifest()], "l.tar is not in it"),
                ([good, link("l.tar", "/etc/passwd"), manifest()], "l.tar is not in it"),
                ([good, link("l.tar", "l.tar"), manifest()], "must be a regular file"),
                ([good, entry("l.tar", LOWER[:-512] + bytes(range(256)) * 2), manifest()], "its configuration declares"),
                ([entry(f"{digest(config)}.json", config + b" "), entry("l.tar", LOWER), manifest()], "it was changed"),
                ([good, manifest(Config="../../etc/passwd")], "is not in it"),
                ([good, manifest(Layers="l.tar")], "'Layers'"),
                ([good, manifest(Layers=[["l.tar"]])], "a layer is no name"),
                ([good, manifest(RepoTags=5)], "'RepoTags' is missing or of the wrong kind"),
                ([entry("x", b"")], "neither an OCI image layout")):
            refused(here, archive(*entries), word)
        with open(docker_save(os.path.join(here, "s.tar"), LOWER), "rb") as f:
            whole = f.read()
        refused(here, write_file(here, "s.tar", whole[:len(whole) // 2]), "truncated")


def test_a_layout_with_links_and_pipes_for_blobs():
    with canary() as here:
        layout = Layout(LOWER)
        secret = write_file(here, "secret", layout.files[layout.blob(layout.packed[0])])
        layout.write(f"{here}/l")
        path = f"{here}/l/" + layout.blob(layout.packed[0])
        os.unlink(path)
        os.symlink(secret, path)
        refused(here, f"{here}/l", "Too many levels of symbolic links")
        os.unlink(path)
        os.mkfifo(path)
        refused(here, f"{here}/l", "must be a regular file")


def test_the_command_to_paste_keeps_an_images_words_in_their_quotes():
    """What a shell makes of it is what the image's settings are, and no more commands."""
    long = "A=x " + "x" * 400
    for config in ({"Env": [long, "B=;touch PWNED; #"]}, {"WorkingDir": "/a b" + "'" * 400, "Env": ["B=;touch PWNED; #"]},
                   {"Entrypoint": ["'" * 150, "$(touch PWNED)"], "Cmd": [long, "`touch PWNED`;", "\x1b'\n;touch PWNED"]}):
        with canary() as here:
            _, said = made(here, Layout(LOWER, config=config_of([LOWER], **config)).write(f"{here}/l"))
            command = next(line for line in said.splitlines() if "dolania run" in line).partition("the like of them: ")[2]
            r = subprocess.run(["sh", "-c", 'dolania() { printf "%s\\0" "$@"; }\n' + command], cwd=here, capture_output=True,
                               text=True, check=False)
            assert (r.returncode, r.stderr) == (0, "") and not os.path.exists(f"{here}/PWNED"), (command, r)
            words = [w for x in config.values() for w in ([x] if isinstance(x, str) else x)]
            assert {w for w in r.stdout.split("\0") if "PWNED" in w} == {w for w in words if "PWNED" in w and w.isprintable()}
            assert "left out there: longer than 200 characters, or not printable" in said, said


def test_bombs_are_stopped():
    with canary() as here:
        zeros = layer(entry("f", bytes(64 << 20)))
        for packer in ("+gzip", "+zstd"):
            source = Layout(zeros, packer=packer).write(f"{here}/l")
            refused(here, source, "more than 16.0M; --max-size allows more", "--max-size", "16M")
            shutil.rmtree(source)
        source = Layout(layer(*[entry(f"f{n}", b"") for n in range(600)])).write(f"{here}/l")
        refused(here, source, "more than 500 entries; --max-entries allows more", "--max-entries", "500")
        source = Layout(*[layer(entry(f"f{n}", b"")) for n in range(30)]).write(f"{here}/m")
        refused(here, source, "--max-entries", "--max-entries", "25")
        write_file(here, "z.tar", gzip.compress(bytes(64 << 20)))
        refused(here, f"{here}/z.tar", "--max-size allows more", "--max-size", "16M")
        os.makedirs(f"{here}/d/e")
        write_file(here, "d/e/f", bytes(1 << 20))
        refused(here, f"{here}/d", "--max-size allows more", "--max-size", "1000K")


def test_directories_made_on_the_way_are_entries_too():
    with canary() as here:
        few = layer(*[entry(f"{n}/" + "d/" * 120 + "f", b"") for n in range(20)])
        linked = layer(link("l", "a/../b/../" * 100 + "c"), *[entry(f"{n}/l", b"") for n in range(3)], entry("l/f", b""))
        for data, limit in ((few, 1000), (few, 2430), (linked, 9)):
            refused(here, Layout(data).write(f"{here}/l"), f"more than {limit} entries; --max-entries allows more",
                    "--max-entries", limit)
            shutil.rmtree(f"{here}/l")
        made(here, Layout(few).write(f"{here}/l"), "--max-entries", "2450")
        long = [layer(*[link(f"{n}/{m}", "t" * 4000) for m in range(50)]) for n in range(4)]
        refused(here, Layout(*long).write(f"{here}/m"), "more than 1000 entries", "--max-entries", "1000")


def test_descriptions_that_are_named_again_and_again():
    """Indexes of indexes, and 'docker save' with one configuration for many images: bounded in all."""
    with canary() as here:
        for times, bytes_ in ((1000, 0), (20, 0), (20, 1 << 20)):
            layout = Layout(LOWER)
            for _ in range(4):
                index = {"manifests": layout.manifests * times, "annotations": {"x": " " * bytes_}}
                layout.manifests = [layout.add_json(index, "application/vnd.oci.image.index.v1+json")]
            layout.write_index()
            refused(here, layout.write(f"{here}/l"), "more than 4000 descriptions of images in it, or more than 32.0M of them")
            shutil.rmtree(f"{here}/l")
        config = json.dumps(config_of([LOWER])).encode()
        manifest = json.dumps([{"Config": f"{digest(config)}.json", "Layers": ["l.tar"]}] * 5000).encode()
        refused(here, write_tar(f"{here}/s.tar", entry(f"{digest(config)}.json", config), entry("l.tar", LOWER),
                                entry("manifest.json", manifest)), "more than 4000 descriptions")


def needy(wants, places):
    """A shared object that lacks as many libraries and names as many places for them."""
    text = b"".join(b"l%d\0" % n for n in range(wants))
    names = [m for m in range(len(text)) if m == 0 or text[m - 1] == 0]
    tags = [(1, n) for n in names] + [(29, len(text)), (5, 4096), (0, 0)]
    dynamic, text = b"".join(struct.pack("<QQ", *t) for t in tags), text + b":".join(b"%x" % n for n in range(places)) + b"\0"
    at = 4096 + len(text)
    segments = [(1, 5, 0, 0, 0, at, at, 4096), (2, 4, at, at, at, len(dynamic), len(dynamic), 8)]
    head = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    return (head + b"".join(struct.pack("<IIQQQQQQ", *s) for s in segments)).ljust(4096, b"\0") + text + dynamic


def test_what_is_looked_through_for_libraries_is_bounded():
    """Lists of places that include each other, and programs that link thousands. The image is not there before that."""
    include = b"include /etc/ld.so.conf.d/*\n"
    with canary() as here:
        for n, entries in enumerate((
                [entry("etc/ld.so.conf", include * 300)] + [entry(f"etc/ld.so.conf.d/{n}.conf", include * 100) for n in range(30)],
                [entry(f"bin/{n}", needy(3000, 900), mode=0o755) for n in range(20)],
                [link(f"{n}", "d/../" * 800 + f"{n + 1}") for n in range(39)] + [folder("d"), link("lib", "0"),
                                                                                 entry("x", needy(3000, 1), mode=0o755)])):
            source = Layout(layer(*entries)).write(f"{here}/{n}")
            refused(here, source, "name more libraries and places for them than are looked for")
        source = Layout(layer(entry("bin/few", needy(3, 9), mode=0o755))).write(f"{here}/l")
        assert "1 programs or libraries lack what they link: /bin/few (l0, l1, l2)" in made(here, source)[1]


def test_long_names_are_bounded_before_they_are_kept():
    """One is a path at most, in the archive's own index too; many of them count for more than one entry."""
    with canary() as here:
        def archive(*entries):
            return write_file(here, "s.tgz", gzip.compress(layer(*entries, form=tarfile.GNU_FORMAT)))
        refused(here, archive(entry("a" * 5000)), "a path of 5000 bytes; 4096 are the limit")
        refused(here, archive(link("l", "a" * 5000)), "a path of 5000 bytes; 4096 are the limit")
        names = archive(*[entry(f"{n}/" + "a/" * 2000) for n in range(300)])
        refused(here, names, "more than 2000 entries", "--max-entries", "2000")
        refused(here, names, "neither an OCI image layout", "--max-entries", "4000")


def test_pax_headers_of_many_records_are_soon_read():
    """In seconds of the processor: read in a square of its length, a header alone took four."""
    with canary() as here:
        source = write_file(here, "s.tar", pax(b"4 =\n" * (1 << 18)) * 8 + END)
        r = image("-o", f"{here}/i", source, before=("prlimit", "--cpu=12"))
        assert r.returncode == 1 and "neither an OCI image layout" in r.stderr, r


def test_gzip_streams_of_many_members_are_soon_read():
    """Each ended member cost a copy of the megabyte that was read: 4 MiB of empty ones took 20 s of the processor."""
    with canary() as here:
        one = gzip.compress(b"", mtime=0)
        source = write_file(here, "s.tgz", one * ((8 << 20) // len(one)))
        r = image("-o", f"{here}/i", source, before=("prlimit", "--cpu=12"))
        assert r.returncode == 1 and "neither a tar archive" in r.stderr, r


def test_a_part_that_becomes_shorter_while_it_is_read():
    """With zstd another thread reads it, and the unpacker waited for what did not come."""
    sys.path.insert(0, os.path.join(TOP, "tools/image.d"))
    from blobs import Bounds, Part, unpack
    from report import Report, Wrong
    with scratch() as d:
        for packer in PACKERS.values():
            data = packer(os.urandom(3 << 20))
            with open(write_file(d, "part", data[:-1000]), "rb") as f:
                try:
                    fd = unpack(Part(f.fileno(), 0, len(data), "part"), Bounds(1 << 30, 1000, Report(quiet=True), d))[0]
                    os.close(fd)
                    raise AssertionError("it was taken")
                except Wrong as e:
                    assert str(e) == "part: it became shorter while it was read", e


def test_garbage_is_an_error_and_no_crash():
    """Bytes of good archives, changed; whatever comes of it, there is no traceback and no other file."""
    import random
    rng = random.Random(5)
    with canary() as here:
        good = []
        for n, source in enumerate((docker_save(f"{here}/a", LOWER, UPPER), Layout(LOWER, UPPER, packer="").tar(f"{here}/b"))):
            with open(source, "rb") as f:
                good.append(f.read())
        for n in range(40):
            data = bytearray(good[n % 2])
            for _ in range(rng.randrange(1, 6)):
                at = rng.randrange(len(data))
                data[at:at + 1] = bytes([rng.randrange(256)])
            write_file(here, "g", bytes(data))
            r = image("-o", f"{here}/i", f"{here}/g")
            assert r.returncode in (0, 1) and "Traceback" not in r.stderr, r
