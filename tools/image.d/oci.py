"""OCI image layouts and 'docker save' archives: which image, which layers, and the tree they come to.

What the archive controls here: all of it. Each part is checked against the digest and length
that the one above it declares; layers are applied in memory (tree.py).
"""
import json
import os
import platform
import re

import blobs
import tarball
from report import Wrong, safe, size_text
from tree import Dir, File, Link, components

LAYERS_MAX = 500
INDEX_DEPTH = 4
# Of all indexes, manifests and configurations together: each of them may be named again and again.
DESCRIPTIONS_MAX, DESCRIPTIONS_BYTES_MAX = 4000, 32 << 20
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


class Image:
    """One of those that an input holds: its names, its configuration, its layers as (part, digest of what is in it)."""

    def __init__(self, names, config, layers):
        self.names, self.config, self.layers = names, config, layers


def field(value, key, kind, where, default=None):
    got = value.get(key, default)
    if not isinstance(got, kind) or isinstance(got, bool):
        raise Wrong(f"{where}: '{key}' is missing or of the wrong kind")
    return got


class Reader:
    """Finds the parts that descriptions name, and reads those that are descriptions."""

    def __init__(self, store, where, report):
        self.store, self.where, self.report = store, where, report
        self.parts = {}                 # (name, bytes declared) -> Part or None
        self.count = self.bytes = 0

    def blob(self, descriptor):
        """The part that a descriptor names, verified."""
        if not isinstance(descriptor, dict):
            raise Wrong(f"{self.where}: a descriptor is no object")
        digest = blobs.check_digest(descriptor.get("digest"))
        part = self.find(f"blobs/sha256/{digest[7:]}", digest, field(descriptor, "size", int, self.where))
        if part is None:
            raise Wrong(f"{self.where}: {digest} is not in it; was it made without that part?")
        return part

    def find(self, name, digest, bytes_):
        """The part of that name, found and verified once; None if there is none."""
        if (name, bytes_) not in self.parts:
            part = self.parts[name, bytes_] = self.store.find(name)
            if part is not None and digest is not None:
                blobs.verify(part, digest, bytes_, self.report)
        return self.parts[name, bytes_]

    def load(self, part, kind=dict):
        self.count, self.bytes = self.count + 1, self.bytes + part.bytes
        data = part.json_bytes()
        if self.count > DESCRIPTIONS_MAX or self.bytes > DESCRIPTIONS_BYTES_MAX:
            raise Wrong(f"{self.where}: more than {DESCRIPTIONS_MAX} descriptions of images in it, "
                        f"or more than {size_text(DESCRIPTIONS_BYTES_MAX)} of them")
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as e:
            raise Wrong(f"{part.name}: not JSON") from e
        if not isinstance(value, kind):
            raise Wrong(f"{part.name}: not what an image has there")
        return value


def diff_ids(config, count, where):
    """What each layer's bytes must come to, unpacked."""
    rootfs = field(config, "rootfs", dict, where)
    ids = [blobs.check_digest(d) for d in field(rootfs, "diff_ids", list, where)]
    if len(ids) != count:
        raise Wrong(f"{where}: {count} layers, but its configuration has {len(ids)}")
    if count > LAYERS_MAX:
        raise Wrong(f"{where}: {count} layers; {LAYERS_MAX} are the limit")
    return ids


def here(descriptor):
    """False for another machine's, and for what is no image (attestations)."""
    p = descriptor.get("platform")
    return not isinstance(p, dict) or (p.get("os"), p.get("architecture")) == ("linux", ARCHITECTURE)


def manifests(reader, descriptors, where, names=(), depth=0):
    """(names, manifest) of each image for this machine, through indexes of indexes."""
    if depth > INDEX_DEPTH:
        raise Wrong(f"{where}: indexes of indexes, deeper than {INDEX_DEPTH}")
    if len(descriptors) > 1000:
        raise Wrong(f"{where}: {len(descriptors)} manifests; 1000 are the limit")
    for d in descriptors:
        if not isinstance(d, dict):
            raise Wrong(f"{where}: a descriptor is no object")
        if not here(d):
            continue
        notes = d.get("annotations")
        own = [notes[k] for k in NAMES if isinstance(notes.get(k), str)] if isinstance(notes, dict) else []
        value = reader.load(reader.blob(d))
        if isinstance(value.get("manifests"), list):
            yield from manifests(reader, value["manifests"], where, own or names, depth + 1)
        elif isinstance(value.get("layers"), list):
            yield own or names, value


def oci_images(reader, index, where):
    for names, manifest in manifests(reader, field(reader.load(index), "manifests", list, where), where):
        config = reader.load(reader.blob(manifest.get("config")))
        if "rootfs" not in config:
            continue                # an attestation or another artifact, no image
        ids = diff_ids(config, len(manifest["layers"]), where)
        yield Image(list(names), config, [(d, i) for d, i in zip(manifest["layers"], ids)])


def docker_images(reader, index, where):
    for entry in reader.load(index, list):
        if not isinstance(entry, dict):
            raise Wrong(f"{where}: manifest.json: an image is no object")
        name = field(entry, "Config", str, where)
        own = re.fullmatch(r"(?:blobs/sha256/)?([0-9a-f]{64})(?:\.json)?", name)
        part = reader.find(name, f"sha256:{own[1]}" if own else None, None)
        if part is None:
            raise Wrong(f"{where}: {safe(name)} is not in it; it was truncated or changed")
        config = reader.load(part)
        layers = field(entry, "Layers", list, where)
        if not all(isinstance(x, str) for x in layers):
            raise Wrong(f"{where}: manifest.json: a layer is no name")
        tags = [t for t in field(entry, "RepoTags", (list, type(None)), where) or [] if isinstance(t, str)]
        yield Image(tags, config, list(zip(layers, diff_ids(config, len(layers), where))))


def open_images(store, where, report):
    """The images in a store; None if it holds none of the two forms."""
    reader = Reader(store, where, report)
    if (index := store.find("index.json")) is not None and store.find("oci-layout") is not None:
        return list(oci_images(reader, index, where))
    if isinstance(store, blobs.Archive) and (index := store.find("manifest.json")) is not None:
        return list(docker_images(reader, index, where))
    return None


def is_named(image, tag):
    return any(n == tag or n.endswith(("/" + tag, ":" + tag)) or n in (f"{tag}:latest", f"docker.io/library/{tag}",
               f"docker.io/library/{tag}:latest") for n in image.names)


def choose(images, tag, where):
    if tag is not None:
        images = [i for i in images if is_named(i, tag)] or \
            _wrong(f"{where}: no image '{safe(tag)}' in it; there are: {names_text(images)}")
    if not images:
        raise Wrong(f"{where}: no image for linux/{ARCHITECTURE} in it")
    if len(images) > 1:
        raise Wrong(f"{where}: {len(images)} images; choose one with --tag: {names_text(images)}")
    image = images[0]
    arch, system = image.config.get("architecture", ARCHITECTURE), image.config.get("os", "linux")
    if (system, arch) != ("linux", ARCHITECTURE):
        raise Wrong(f"{where}: an image for {safe(str(system))}/{safe(str(arch))}; here is linux/{ARCHITECTURE}")
    return image


def _wrong(text):
    raise Wrong(text)


def names_text(images):
    return safe(", ".join(n for i in images for n in (i.names or ["(no name)"])))


class Applier:
    """Lays layers one over the other, as the OCI image specification has it."""

    def __init__(self, tree, bounds):
        self.tree, self.bounds = tree, bounds
        self.left_out = []          # devices, fifos: names of the first few
        self.left_out_count = 0

    def layer(self, fd, bytes_, where):
        """Whiteouts first: they speak of the layers below, wherever in this one they stand."""
        plain = []
        for m in tarball.members(fd, bytes_, where, self.bounds.entries):
            self.bounds.entry(where, len(m.name) + len(m.target))
            parts = components(m.name, where)
            if any(p.startswith(b".wh.") for p in parts[:-1]):
                raise Wrong(f"{where}: {safe(m.name)}: below a whiteout's name")
            if parts and parts[-1].startswith(b".wh."):
                self.whiteout(parts, where)
            else:
                plain.append((parts, m))
        for n, (parts, m) in enumerate(plain):
            self.entry(parts, m, fd, where)
            if n % 1000 == 0:
                self.bounds.report.progress(f"{where}: {n} of {len(plain)} entries")

    def whiteout(self, parts, where):
        name = parts[-1][4:]
        directory = self.tree.walk(parts[:-1], where)
        if name in (b"", b".", b".."):
            raise Wrong(f"{where}: {safe(b'/'.join(parts))}: a whiteout of nothing")
        if directory is None:
            return
        if name == b".wh..opq":
            directory.children.clear()
        elif not name.startswith(b".wh."):      # others of two marks are an old file system's own notes
            directory.children.pop(name, None)

    def entry(self, parts, m, fd, where):
        if m.kind == tarball.DIR:
            node = Dir(m.mode)
        elif m.kind == tarball.FILE:
            node = File(m.mode, m.size, fd=fd, offset=m.offset)
        elif m.kind == tarball.SYMLINK:
            if not m.target or len(m.target) >= 4096:
                raise Wrong(f"{where}: {safe(m.name)}: a link to nothing, or to a path too long")
            node = Link(m.target)
        elif m.kind == tarball.LINK:
            target = components(m.target, where)
            node = self.tree.parent(target, where).get(target[-1]) if target else None
            if node is None or isinstance(node, Dir):
                raise Wrong(f"{where}: {safe(m.name)}: a hard link to {safe(m.target)}, which is no file in it")
        else:
            self.left_out_count += 1
            if len(self.left_out) < 3:
                self.left_out.append(m.name)
            return
        self.tree.put(parts, node, where)


def build(image, store, tree, bounds, where, report):
    """The image's tree; returns the Applier, which knows what was left out."""
    applier, reader = Applier(tree, bounds), Reader(store, where, report)
    for n, (what, diff_id) in enumerate(image.layers):
        name = f"{where}: layer {n + 1} of {len(image.layers)}"
        part = store.find(what) if isinstance(what, str) else reader.blob(what)
        if part is None:
            raise Wrong(f"{where}: {safe(what)} is not in it; it was truncated or changed")
        part.name = name
        fd, bytes_, got = blobs.unpack(part, bounds)
        if got != diff_id:
            os.close(fd)
            raise Wrong(f"{name}: unpacked its digest is {got}, but its configuration declares {diff_id}")
        store.unpacked.append(fd)
        applier.layer(fd, bytes_, name)
    return applier
