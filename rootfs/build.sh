#!/bin/bash
# Builds a root image from Debian packages: an uncompressed EROFS file.
#
#   rootfs/build.sh NAME                  rootfs/NAME.pkgs -> build/share/dolania/images/NAME.erofs
#   rootfs/build.sh --list LIST IMAGE     a list of your own
#   rootfs/build.sh --list LIST IMAGE AS  the same for a caller that says itself that it is made; errors call it AS
#
# The packages are those in the list, from Debian's own archive as configured
# in this machine's apt sources (other sources are ignored). They are unpacked,
# not installed: no maintainer script runs. A named image is cached: its key is a
# hash over the recipe, these scripts, files/, python/, and the resolved package versions.
# The same key gives the same bytes. Needs erofs-utils, and chroot (to compile .pyc
# files with the image's own interpreter), which a user has in a namespace of their own.
set -euo pipefail
export LC_ALL=C
umask 022
PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(dirname "$here")
work=${DOLANIA_ROOTFS_WORK:-$top/build/rootfs}

parts=$top/tools/image.d		# of a checkout; installed they are beside this directory
[ -d "$parts" ] || parts=$top/image.d

usage() {
	echo "usage: $0 NAME, where NAME.pkgs is in $here; or $0 --list LIST IMAGE [AS]" >&2
	exit 2
}

if [ "${1:-}" = --list ]; then
	if [ $# -lt 3 ] || [ $# -gt 4 ]; then usage; fi
	name=own
	called=${4:-$name}
	caller_says=${4:+yes}
	list=$(realpath -e "$2") || exit 2
	out=$(realpath -m "$3")
else
	name=${1:-}
	called=$name
	caller_says=
	list=$here/$name.pkgs
	out=$top/build/share/dolania/images/$name.erofs
	if [[ -z $name || $name == */* || ! -e $list ]]; then usage; fi
fi

if [ "$(id -u)" -ne 0 ]; then
	unshare --map-root-user true 2>/dev/null || {
		echo "image $called: needs root, or user namespaces, which this host does not give ordinary users" >&2
		exit 1
	}
	exec unshare --map-root-user "$0" "$@"
fi

say() { progress_end; echo "image $called: $*" >&2; }
die() { say "$@"; exit 1; }
progress() { if [ -t 2 ]; then printf '\r\033[Kimage %s: %s' "$called" "$*" >&2; fi; }
progress_end() { if [ -t 2 ]; then printf '\r\033[K' >&2; fi; }
hash() { sha256sum | cut -d' ' -f1; }

# shellcheck source=rootfs/debian.sh
. "$here/debian.sh"

# The lists of an image, the included ones first.
recipes() {
	local inc
	for inc in $(awk '$1 == "include" { print $2 }' "$1"); do
		[ -e "$here/$inc.pkgs" ] || die "$1: include $inc: there is no such image; there are: $(cd "$here" && ls ./*.pkgs | sed 's|./\(.*\).pkgs|\1|' | tr '\n' ' ')"
		recipes "$here/$inc.pkgs"
	done
	echo "$1"
}

# The lines of all lists that begin with a word, without it.
directives() { sed -n "s/^$1  *//p" "${recipe[@]}"; }

unpack() {
	local p v f n=0
	root=$work/$name.root
	rm -rf "$root"
	mkdir -p "$root"/usr/{bin,sbin,lib,lib64}
	for p in bin sbin lib lib64; do ln -s usr/$p "$root/$p"; done
	while read -r p v; do
		n=$((n + 1))
		progress "unpacking $n of ${#packages[@]}: $p"
		f=$(debian_file "$p" "$v")
		dpkg-deb --fsys-tarfile "$f" | tar -xp --no-same-owner --keep-directory-symlink -C "$root"
	done <<<"$resolved"
}

# What a program does not read at run time.
strip_root() {
	(cd "$root" && rm -rf usr/share/{doc,doc-base,man,info,locale,lintian,bug,menu,applications,pixmaps,icons,binfmts} \
		usr/share/{bash-completion,debianutils,polkit-1} usr/share/python3/runtime.d etc/{update-motd.d,init.d,default,cron.d} \
		var etc/bash_completion.d usr/lib/valgrind usr/share/gdb usr/share/gcc usr/lib/x86_64-linux-gnu/gconv)
	find "$root/usr/lib/locale" -mindepth 1 -maxdepth 1 ! -name C.utf8 -exec rm -rf {} + 2>/dev/null || true
	local path
	while read -r path _; do
		# shellcheck disable=SC2086 # a pattern
		(cd "$root" && compgen -G "$path" >/dev/null && rm -r -- $path) || die "drop $path: there is no such file"
	done < <(directives drop)
	# set-id programs: the script runs with no_new_privs anyway
	find "$root" -type f -perm /6000 -exec chmod u-s,g-s {} +
}

configure_root() {
	local a path target mode offered _
	while read -r path mode _; do
		mkdir -p "$root/$path"
		chmod "$mode" "$root/$path"
	done < <(grep -v '^#' "$here/places")
	ln -s /run "$root/var/run"
	cp -r "$here/files/." "$root/"
	ln -sf /proc/self/mounts "$root/etc/mtab"
	for a in dash bash busybox; do
		if [ -e "$root/usr/bin/$a" ]; then ln -sf $a "$root/usr/bin/sh"; break; fi
	done

	# those of busybox's applets that are offered, where no Debian program of that name is
	offered=" $(grep -v '^#' "$here/applets" | tr '\n' ' ') "
	: >"$work/$name.applets"
	if [ -e "$root/usr/bin/busybox" ]; then chroot "$root" /usr/bin/busybox --list-full >"$work/$name.applets"; fi
	while read -r a; do
		case $a in usr/*) ;; *) a=usr/$a ;; esac
		case $a in usr/bin/* | usr/sbin/*) ;; *) continue ;; esac
		[[ $offered == *" ${a##*/} "* ]] || continue
		if [ -e "$root/usr/bin/${a##*/}" ] || [ -e "$root/usr/sbin/${a##*/}" ] || [ -L "$root/$a" ]; then continue; fi
		case $a in usr/bin/*) ln -s busybox "$root/$a" ;; *) ln -s ../bin/busybox "$root/$a" ;; esac
	done <"$work/$name.applets"

	while read -r path target _; do
		mkdir -p "$root/$(dirname "$path")"
		ln -s "$target" "$root/$path"
		[ -e "$root/$path" ] || die "link $path: $target is not there"
	done < <(directives link)

	ldconfig -r "$root"
	rm -rf "$root/var/cache"
}

# Python's own hook for a site, in place of Debian's, which looks for a package that is not there.
configure_python() {
	[ -e "$root/usr/bin/python3.11" ] || return 0
	rm -f "$root/etc/python3.11/sitecustomize.py" "$root/usr/lib/python3.11/sitecustomize.py"
	cp "$here/python/sitecustomize.py" "$root/usr/lib/python3.11/"
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
	missing=$("$parts/libraries.py" "$root") || die "libraries missing:"$'\n'"$missing"
}

build() {
	local start=$SECONDS
	unpack
	strip_root
	configure_root
	configure_python
	compile_python
	check_libraries
	progress "writing"
	mkdir -p "$(dirname "$out")"
	rm -f "$out.new" "$work/$name.key" "$work/$name.lists-key"
	"$here/erofs.sh" "$root" "$out.new" 2>"$work/$name.log" || die "$(tail -n 3 "$work/$name.log")"
	mv "$out.new" "$out"
	# As tools/image says it of a directory's tree; an absolute link leads somewhere in the guest alone.
	[ -e "$root/bin/sh" ] || [ -L "$root/bin/sh" ] ||
		say "note: it has no /bin/sh, so only --exec -- PROG runs in it, and scripts whose '#!' is in it"
	rm -rf "$root"
	echo "$key" >"$work/$name.key"
	lists_key | hash >"$work/$name.lists-key"
	progress_end
	[ -n "$caller_says" ] || say "$(stat -c %s "$out") bytes in $((SECONDS - start)) s: ${out#"$top"/}"
}

# What decides the image but for the versions, and what decides those: as long
# as apt's sources and lists are the files they were, apt need not be asked.
own_key() {
	cat "${recipe[@]}" "$here/build.sh" "$here/debian.sh" "$here/erofs.sh" "$here/places" "$here/applets"
	(cd "$here" && find files python -type f | sort | xargs sha256sum)
}
lists_key() {
	own_key
	find /etc/apt/sources.list* /var/lib/apt/lists -maxdepth 1 -type f -printf '%p %s %T@\n' 2>/dev/null | sort
}

mkdir -p "$work/debs"
recipe_text=$(recipes "$list")
mapfile -t recipe <<<"$recipe_text"
lkey=$(lists_key | hash)
if [ $name != own ] && [ -e "$out" ] && [ "$(cat "$work/$name.lists-key" 2>/dev/null)" = "$lkey" ]; then exit 0; fi

exec 9>"$work/lock"
flock 9
debian_sources
mapfile -t packages < <(awk '$1 ~ /^(include|link|drop|depends)$/ { next } /^[a-z0-9]/ { print $1 }' "${recipe[@]}" | sort -u)
if grep -q '^depends\>' "${recipe[@]}"; then
	mapfile -t packages < <(debian_closure "${packages[@]}")
	[ ${#packages[@]} -gt 0 ] || die "apt cannot resolve the list: $(tail -n 1 "$work/closure.err")"
fi
resolved=$(debian_versions "${packages[@]}")
[ "$(wc -l <<<"$resolved")" -eq ${#packages[@]} ] ||
	die "apt does not know: $(comm -23 <(printf '%s\n' "${packages[@]}" | sort) <(cut -d' ' -f1 <<<"$resolved" | sort) | tr '\n' ' ')"
image_key() {
	own_key
	echo "$resolved"
}
key=$(image_key | hash)
if [ $name != own ] && [ -e "$out" ] && [ "$(cat "$work/$name.key" 2>/dev/null)" = "$key" ]; then
	echo "$lkey" >"$work/$name.lists-key"
	exit 0
fi

# A version that the archive no longer has means that the lists are old: refreshed once.
if ! debian_fetch <<<"$resolved"; then
	progress "refreshing apt's lists"
	apt_debian apt-get -qq update >"$work/$name.log" 2>&1 || true
	resolved=$(debian_versions "${packages[@]}")
	key=$(image_key | hash)
	debian_fetch <<<"$resolved" || die "fetching failed: $(tail -n 3 "$work/$name.log")"
fi
build
