#!/bin/sh
# inside.sh - makes the room that bench commands run in, inside the emulated host,
# and runs COMMAND there as root.
#
# usage: inside.sh CHECKOUT ROOM.tar COMMAND [ARG...]
#
# The emulated host's own files come over 9p, whose cost is not what we count:
# everything a counted command touches lies in a tmpfs that is its root. The
# checkout has the same path there as outside.
set -eu

top=$1
tar=$2
shift 2
room=/tmp/room

mkdir -p $room
mount -t tmpfs -o size=80%,mode=755 room $room
tar -xf "$tar" -C $room
for dir in dev proc sys; do
	mkdir -p $room/$dir
	mount --rbind /$dir $room/$dir
done
mount -t tracefs tracefs $room/sys/kernel/tracing
mkdir -p $room/tmp $room/run
chmod 1777 $room/tmp
# Moved over the root, not only chrooted: a process in a chroot may not make user
# namespaces, and dolania does.
cd $room
mount --move . /
exec chroot . /bin/sh -c 'cd "$1" && shift && exec "$@"' sh "$top" "$@"
