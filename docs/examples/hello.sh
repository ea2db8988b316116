#!/bin/bash
# Runs in a virtual machine that is made for it and thrown away after it.
echo "hello from $(uname -sr), as $(id -un 2>/dev/null || id -u), in $(pwd)"
echo "processors: $(nproc), memory: $(awk '/MemTotal/ { print int($2 / 1024) " MiB" }' /proc/meminfo)"
interfaces=$(ls /sys/class/net 2>/dev/null | tr '\n' ' ')
echo "network interfaces: ${interfaces:-none}"
echo "this goes to stderr" >&2
