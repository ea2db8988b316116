"""OCI image layouts and 'docker save' archives, made by code, and what tools/image makes of them; for its tests."""
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile

from lib import SHARE, TOP, made

IMAGE = os.path.join(TOP, "tools/image")


def digest(data):
    return hashlib.sha256(data).hexdigest()


def entry(name, data=None, kind=tarfile.REGTYPE, mode=0o644, target="", **pax):
    """A member for layer(); bytes make it a file."""
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname, info.pax_headers = kind, mode, target, pax
    data = b"" if data is None else data
    info.size = len(data) if kind == tarfile.REGTYPE else 0
    return info, data


def folder(name, mode=0o755):
    return entry(name, kind=tarfile.DIRTYPE, mode=mode)


def link(name, target):
    return entry(name, kind=tarfile.SYMTYPE, target=target)


def hard(name, target):
    return entry(name, kind=tarfile.LNKTYPE, target=target)


def layer(*entries, form=tarfile.PAX_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, errors="surrogateescape") as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zstd(data):
    return subprocess.run(["zstd", "-qc"], input=data, stdout=subprocess.PIPE, check=True).stdout


PACKERS = {"": bytes, "+gzip": lambda d: gzip.compress(d, mtime=0), "+zstd": zstd}


def config_of(layers, **config):
    return {"architecture": "amd64", "os": "linux", "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest(x)}" for x in layers]}}


class Layout:
    """An OCI image layout as a dictionary of files, to be spoiled and written."""

    def __init__(self, *layers, packer="+gzip", tag="test:latest", config=None):
        self.files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
        self.packed = [self.add(PACKERS[packer](x), f"application/vnd.oci.image.layer.v1.tar{packer}") for x in layers]
        self.config = self.add_json(config or config_of(layers), "application/vnd.oci.image.config.v1+json")
        self.manifests = []
        self.add_manifest(tag)

    def add(self, data, kind):
        self.files[f"blobs/sha256/{digest(data)}"] = data
        return {"mediaType": kind, "digest": f"sha256:{digest(data)}", "size": len(data)}

    def add_json(self, value, kind):
        return self.add(json.dumps(value).encode(), kind)

    def add_manifest(self, tag, **more):
        manifest = {"schemaVersion": 2, "config": self.config, "layers": self.packed, **more}
        d = self.add_json(manifest, "application/vnd.oci.image.manifest.v1+json")
        d["annotations"] = {"org.opencontainers.image.ref.name": tag}
        self.manifests.append(d)
        self.write_index()

    def write_index(self):
        self.files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": self.manifests}).encode()

    def blob(self, descriptor):
        return f"blobs/sha256/{descriptor['digest'][7:]}"

    def write(self, directory):
        for name, data in self.files.items():
            path = os.path.join(directory, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as f:
                f.write(data)
        return directory

    def tar(self, path):
        return write_tar(path, *[entry(name, data) for name, data in self.files.items()])


def write_tar(path, *entries):
    with open(path, "wb") as f:
        f.write(layer(*entries))
    return path


def docker_save(path, *layers, tags=("test:latest",), config=None, more=()):
    """As Docker wrote it before it wrote layouts: a directory a layer, equal layers as links."""
    config = json.dumps(config or config_of(layers)).encode()
    names, entries, seen = [], [], {}
    for n, data in enumerate(layers):
        name = f"{n:064x}/layer.tar"
        entries.append(link(name, f"../{seen[data]}") if data in seen else entry(name, data))
        seen.setdefault(data, name)
        names.append(name)
    manifest = [{"Config": f"{digest(config)}.json", "RepoTags": list(tags), "Layers": names}]
    return write_tar(path, entry(f"{digest(config)}.json", config), *entries,
                     entry("manifest.json", json.dumps(manifest).encode()), *more)


def tree_of(image, directory):
    """The image's tree, below the directory."""
    subprocess.run(["fsck.erofs", f"--extract={directory}", image], stdout=subprocess.DEVNULL, check=True)
    return directory


def oci_of_base():
    """build/tests/images/oci.erofs: the base image's tree as an OCI layout of two layers, made an image again."""
    def commands(out):
        base, layout = f"{out}.base", f"{out}.layout"
        tree_of(os.path.join(SHARE, "images/base.erofs"), base)
        under = subprocess.run(["tar", "-C", base, "--sort=name", "--exclude=./in", "--exclude=./work", "-c", "."],
                               stdout=subprocess.PIPE, check=True).stdout
        over = layer(folder("usr/local"), folder("usr/local/bin"), entry("etc/.wh.bash.bashrc"),
                     entry("usr/local/bin/greet", b"#!/bin/sh\necho hello $1\n", mode=0o700),
                     link("usr/bin/greeting", "/usr/local/bin/greet"), folder("home/app", 0o700),
                     entry("home/app/data", b"of the layer\n", mode=0o600))
        Layout(under, over, config=config_of([under, over], Entrypoint=["greet"], Env=["APP=1"])).write(layout)
        return [[IMAGE, "-q", "-o", out, layout]]
    return made(os.path.join(TOP, "build/tests/images/oci.erofs"),
                [os.path.join(SHARE, "images/base.erofs"), IMAGE, os.path.realpath(__file__)], commands)


def image(*args, before=(), cwd=None, timeout=500):
    return subprocess.run([*before, IMAGE, *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          errors="surrogateescape", cwd=cwd, timeout=timeout, check=False)


def build_image(d, source, *args, name="i.erofs"):
    out = os.path.join(d, name)
    r = image(*args, "-o", out, source)
    assert r.returncode == 0, r
    assert not [f for f in os.listdir(d) if f.startswith(".image-")], os.listdir(d)
    return out, r.stderr


def tree(d, source, *args):
    """{path: what is there} of the image, without the places that each image has."""
    out, _ = build_image(d, source, *args)
    top = tree_of(out, os.path.join(d, "tree"))
    found = {}
    for path, folders, files in os.walk(os.fsencode(top)):
        for name in folders + files:
            full = os.path.join(path, name)
            key, mode = os.path.relpath(full, os.fsencode(top)).decode("utf-8", "surrogateescape"), os.lstat(full).st_mode
            if os.path.islink(full):
                found[key] = "-> " + os.readlink(full).decode()
            elif os.path.isdir(full):
                found[key] = f"{mode & 0o7777:o}/"
            else:
                with open(full, "rb") as f:
                    found[key] = f"{mode & 0o7777:o} {f.read().decode(errors='surrogateescape')}"
    shutil.rmtree(top)
    os.unlink(out)
    return found


# Two layers, the upper one taking away and covering.
LOWER = layer(folder("a"), entry("a/one", b"1"), entry("a/two", b"2"), folder("b", 0o700), entry("b/old", b"old"),
              folder("b/deep"), entry("b/deep/x", b"x"), entry("c", b"file"), folder("usr"), folder("usr/lib"),
              link("lib", "usr/lib"), entry("usr/lib/l", b"lib"), hard("a/again", "a/one"), folder("d"), entry("d/f", b"f"))
UPPER = layer(entry("a/.wh.one"), entry("b/new", b"new"), entry("b/.wh..wh..opq"), entry(".wh.c"), entry("lib/m", b"m"),
              entry("d", b"now a file"), folder("c"), entry("c/in", b"in"), hard("c/hard", "./lib/l"),
              entry(".wh.never", b""), entry("./a//three", b"3", mode=0o755))
