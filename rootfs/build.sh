#!/bin/bash
# Builds a root image from Debian packages: an uncompressed EROFS file.
#
#   rootfs/build.sh base|python|python-test    -> build/share/dolania/images/NAME.erofs
#
# The packages are those in NAME.pkgs, from Debian's own archive as configured
# in this machine's apt sources (other sources are ignored). They are unpacked,
# not installed: no maintainer script runs. The result is cached: its key is a
# hash over the recipe, this script, files/, and the resolved package versions.
# The same key gives the same bytes. Needs root (chroot, to compile .pyc files
# with the image's own interpreter) and erofs-utils.
set -euo pipefail
export LC_ALL=C
umask 022

name=${1:-}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(dirname "$here")
work=$top/build/rootfs
out=$top/build/share/dolania/images/$name.erofs
uuid=d01a0000-0000-4000-8000-000000000001	# the same for every image: it identifies nothing
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
epoch=0						# every timestamp in the image

if [ -z "$name" ] || [ ! -e "$here/$name.pkgs" ]; then
	echo "usage: $0 NAME, where NAME.pkgs is in $here" >&2
	exit 2
fi

die() { progress_end; echo "image $name: $*" >&2; exit 1; }
progress() { if [ -t 2 ]; then printf '\r\033[Kimage %s: %s' "$name" "$*" >&2; fi; }
progress_end() { if [ -t 2 ]; then printf '\r\033[K' >&2; fi; }
hash() { sha256sum | cut -d' ' -f1; }

# The recipe files of an image, the included ones first.
recipes() {
	local inc
	inc=$(awk '$1 == "include" { print $2 }' "$here/$1.pkgs")
	if [ -n "$inc" ]; then recipes "$inc"; fi
	echo "$here/$1.pkgs"
}

# apt, seeing Debian's archive only and no installed package.
apt_debian() {
	local cmd=$1; shift
	"$cmd" -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::State::status=/dev/null -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
		-o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
		-o APT::Sandbox::User=root -o APT::Get::List-Cleanup=false "$@"
}

# The Debian lines of this machine's sources, whatever mirror they name,
# checked against Debian's own keys.
write_sources() {
	local signed=
	if [ -e "$keyring" ]; then signed="[signed-by=$keyring] "; fi
	apt-get indextargets --format '$(CREATED_BY) $(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)' |
		awk -v s="$signed" '$1 == "Packages" && $2 == "Debian" { print "deb " s $3 " " $4 " " $5 }' |
		sort -u >"$work/sources.list.new"
	[ -s "$work/sources.list.new" ] || die "no Debian archive in apt's sources; run apt-get update first"
	cmp -s "$work/sources.list.new" "$work/sources.list" || cp "$work/sources.list.new" "$work/sources.list"
}

# "package version" for each package, one a line.
resolve() {
	apt_debian apt-cache policy "${packages[@]}" |
		awk '/^[^ ]/ { p = $1; sub(/:$/, "", p) } $1 == "Candidate:" && $2 != "(none)" { print p, $2 }'
}

# Downloads what is not there yet into work/debs. A version that the archive
# no longer has means that the lists are old: refreshed once.
fetch() {
	local p v f want=()
	while read -r p v; do
		f=$work/debs/${p}_${v//:/%3a}_
		compgen -G "$f*.deb" >/dev/null || want+=("$p=$v")
	done <<<"$resolved"
	[ ${#want[@]} -gt 0 ] || return 0
	progress "fetching ${#want[@]} packages"
	(cd "$work/debs" && apt_debian apt-get -qq download "${want[@]}") >"$work/$name.log" 2>&1
}

unpack() {
	local p v f n=0
	root=$work/$name.root
	rm -rf "$root"
	mkdir -p "$root"/usr/{bin,sbin,lib,lib64}
	for p in bin sbin lib lib64; do ln -s usr/$p "$root/$p"; done
	while read -r p v; do
		n=$((n + 1))
		progress "unpacking $n of ${#packages[@]}: $p"
		f=$(compgen -G "$work/debs/${p}_${v//:/%3a}_*.deb")
		dpkg-deb --fsys-tarfile "$f" | tar -x --keep-directory-symlink -C "$root"
	done <<<"$resolved"
}

# What a program does not read at run time.
strip_root() {
	(cd "$root" && rm -rf usr/share/{doc,doc-base,man,info,locale,lintian,bug,menu,applications,pixmaps,icons,binfmts} \
		usr/share/{bash-completion,debianutils,polkit-1} usr/share/python3/runtime.d etc/{update-motd.d,init.d,default,cron.d} \
		var etc/bash_completion.d usr/lib/valgrind usr/share/gdb usr/share/gcc usr/lib/x86_64-linux-gnu/gconv)
	find "$root/usr/lib/locale" -mindepth 1 -maxdepth 1 ! -name C.utf8 -exec rm -rf {} + 2>/dev/null || true
	# set-id programs: the script runs with no_new_privs anyway
	find "$root" -type f -perm /6000 -exec chmod u-s,g-s {} +
}

configure_root() {
	local a
	mkdir -p "$root"/{proc,sys,dev,tmp,work,in,out,run,scratch,root,etc,var/tmp}
	ln -s /run "$root/var/run"
	cp -r "$here/files/." "$root/"
	ln -sf /proc/self/mounts "$root/etc/mtab"
	ln -sf dash "$root/usr/bin/sh"

	# busybox's applets, where no Debian program of that name is
	"$root/usr/bin/busybox" --list-full >"$work/$name.applets"
	while read -r a; do
		case $a in usr/*) ;; *) a=usr/$a ;; esac
		case $a in usr/bin/* | usr/sbin/*) ;; *) continue ;; esac
		if [ -e "$root/usr/bin/${a##*/}" ] || [ -e "$root/usr/sbin/${a##*/}" ] || [ -L "$root/$a" ]; then continue; fi
		case $a in usr/bin/*) ln -s busybox "$root/$a" ;; *) ln -s ../bin/busybox "$root/$a" ;; esac
	done <"$work/$name.applets"

	ldconfig -r "$root"
	rm -rf "$root/var/cache"
	chmod 1777 "$root/tmp" "$root/var/tmp"
}

# Byte code, so that imports from the read-only image are fast. Unchecked: the
# source cannot change. A fixed hash seed and one process keep it reproducible.
compile_python() {
	[ -e "$root/usr/bin/python3.11" ] || return 0
	progress "compiling Python modules"
	# modules that are meant not to compile are part of the tests
	chroot "$root" /usr/bin/env -i PYTHONHASHSEED=0 PATH=/usr/bin python3.11 -m compileall -q -j1 \
		-x 'lib2to3/tests|/bad_|badsyntax|/test/' --invalidation-mode unchecked-hash \
		/usr/lib/python3.11 /usr/lib/python3/dist-packages >"$work/$name.log" 2>&1 ||
		die "compiling failed: $(tail -n 3 "$work/$name.log")"
	if [ -d "$root/usr/lib/python3.11/test" ]; then
		chroot "$root" /usr/bin/env -i PYTHONHASHSEED=0 PATH=/usr/bin python3.11 -m compileall -q -j1 \
			--invalidation-mode unchecked-hash /usr/lib/python3.11/test >"$work/$name.log" 2>&1 || true
	fi
}

# Every program and library finds the libraries it links.
check_libraries() {
	progress "checking libraries"
	local missing
	missing=$(find "$root/usr/bin" "$root/usr/sbin" "$root/usr/lib" -type f \( -perm /111 -o -name '*.so*' \) -print |
		while read -r f; do
			[ "$(head -c 4 "$f" | tail -c 3)" = ELF ] || continue
			LD_TRACE_LOADED_OBJECTS=1 chroot "$root" /lib64/ld-linux-x86-64.so.2 "${f#"$root"}" 2>/dev/null |
				awk -v f="${f#"$root"}" '/not found/ { print f ": " $1 }'
		done) || true
	[ -z "$missing" ] || die "libraries missing:"$'\n'"$missing"
}

build() {
	local start=$SECONDS
	unpack
	strip_root
	configure_root
	compile_python
	check_libraries
	progress "writing"
	mkdir -p "$(dirname "$out")"
	rm -f "$out.new" "$work/$name.key" "$work/$name.lists-key"
	mkfs.erofs --quiet -x-1 -T$epoch -U$uuid --all-root "$out.new" "$root" >"$work/$name.log" 2>&1 ||
		die "mkfs.erofs failed: $(tail -n 3 "$work/$name.log")"
	mv "$out.new" "$out"
	rm -rf "$root"
	echo "$key" >"$work/$name.key"
	lists_key | hash >"$work/$name.lists-key"
	progress_end
	echo "image $name: $(stat -c %s "$out") bytes in $((SECONDS - start)) s: ${out#"$top"/}" >&2
}

# What decides the image but for the versions, and what decides those: as long
# as apt's sources and lists are the files they were, apt need not be asked.
own_key() {
	cat "${recipe[@]}" "$here/build.sh"
	(cd "$here/files" && find . -type f | sort | xargs sha256sum)
}
lists_key() {
	own_key
	find /etc/apt/sources.list* /var/lib/apt/lists -maxdepth 1 -type f -printf '%p %s %T@\n' 2>/dev/null | sort
}

mkdir -p "$work/debs"
mapfile -t recipe < <(recipes "$name")
lkey=$(lists_key | hash)
if [ -e "$out" ] && [ "$(cat "$work/$name.lists-key" 2>/dev/null)" = "$lkey" ]; then exit 0; fi

exec 9>"$work/lock"
flock 9
mapfile -t packages < <(awk '/^[a-z0-9]/ && $1 != "include" { if (NF < 2) exit 1; print $1 }' "${recipe[@]}")
write_sources
resolved=$(resolve)
[ "$(wc -l <<<"$resolved")" -eq ${#packages[@]} ] ||
	die "apt does not know: $(comm -23 <(printf '%s\n' "${packages[@]}" | sort) <(cut -d' ' -f1 <<<"$resolved" | sort) | tr '\n' ' ')"
image_key() {
	own_key
	echo "$resolved"
}
key=$(image_key | hash)
if [ -e "$out" ] && [ "$(cat "$work/$name.key" 2>/dev/null)" = "$key" ]; then
	echo "$lkey" >"$work/$name.lists-key"
	exit 0
fi

if ! fetch; then
	progress "refreshing apt's lists"
	apt_debian apt-get -qq update >"$work/$name.log" 2>&1 || true
	resolved=$(resolve)
	key=$(image_key | hash)
	fetch || die "fetching failed: $(tail -n 3 "$work/$name.log")"
fi
build
