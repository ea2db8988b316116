# dolania.  'make help' lists the targets; docs/kvm-host.md tells where VMs run.
#
#   build/bin/dolania                    the command
#   build/libexec/dolania/dolania-vmm    the VMM, one process a run
#   build/libexec/dolania/dolania-extract   what puts /out into a directory
#   build/share/dolania/                 kernel, init and images
#   build/san/                           the same with SANITIZE=..., and unit tests

.DEFAULT_GOAL := build
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PREFIX  ?= /usr/local
DESTDIR ?=
override DESTDIR := $(if $(DESTDIR),$(abspath $(DESTDIR)))
JOBS    ?= $(shell nproc)

include tools/make/build.mk
include tools/make/check.mk

.PHONY: help setup packages kernel images image loopback build demo test test-full bench bench-check bench-picture bench-work bench-density bench-native surface install uninstall clean distclean

help:
	@sed -n 's/^#: //p' $(MAKEFILE_LIST)

#: make build       the command, the VMM and init (what the compilers make)
build: $(PROGRAMS) init $(POLICIES)

#: make demo        set up everything, then run an example in a VM
demo: setup
	@tools/with-kvm -- docs/examples/demo.sh

#: make test        set up everything, then check and the end-to-end tests
test: setup
	@tools/make/step 'python-test image' rootfs/build.sh python-test
	@tools/make/step 'node image' rootfs/build.sh node
	@tools/make/step 'toolchain image' rootfs/build.sh toolchain
	@tools/make/step 'unit tests, layers, lint' $(MAKE) --no-print-directory -j$(JOBS) check-build lint
	@tools/make/step 'hostile guests, controls' tests/hostile/run --build
	@tests/run

#: make test-full   the slow tests too
test-full: setup
	@tools/make/step 'python-test image' rootfs/build.sh python-test
	@tools/make/step 'node image' rootfs/build.sh node
	@tools/make/step 'python-data image' rootfs/build.sh python-data
	@tools/make/step 'toolchain image' rootfs/build.sh toolchain
	@tools/make/step 'loopback kernel' kernel-config/build.sh loopback
	@tools/make/step 'unit tests, layers, lint' $(MAKE) --no-print-directory -j$(JOBS) check-build lint
	@tools/make/step 'hostile guests, controls' tests/hostile/run --build
	@tests/run --full

#: make check       unit tests under sanitizers, layers, lint; no root, no KVM
check: check-build lint
	@tests/run unit

#: make bench       what a run costs; also build/bench.json
bench: setup
	@tests/bench/run

#: make bench-check is a run dearer than its budget by over 1 %? (part of make test)
bench-check: setup
	@tests/bench/check

#: make bench-picture   draws docs/boot.svg: where the instructions of a run go
bench-picture: setup
	@tests/bench/picture

#: make bench-work  what work inside the VM costs beside the peer and the host; also build/bench-work.json
bench-work: setup
	@tests/bench/work

#: make bench-density   what VMs that only wait cost the host; also build/bench-density.json
bench-density: setup
	@tests/bench/density

#: make bench-native    wall-clock beside the peers that are installed; needs hardware KVM
bench-native: setup
	@tests/bench/native

#: make surface     the surface ledger: system calls, ioctls, lines, devices
#:                  (UPDATE=1 writes docs/surface.md, FULL=1 traces all end-to-end tests)
surface: setup
	@tests/surface/run $(if $(FULL),--full) $(if $(UPDATE),--update)

#: make setup       everything a run needs: packages, kernel, images, programs
# Each step keeps what it made and is quick when nothing changed.
setup: packages
	@$(MAKE) --no-print-directory kernel images
	@tools/make/step 'programs' $(MAKE) --no-print-directory -j$(JOBS) build

packages:
	@tools/setup/packages.sh

kernel:
	@tools/make/step 'guest kernel' kernel-config/build.sh

images:
	@tools/make/step 'base image' rootfs/build.sh base
	@tools/make/step 'python image' rootfs/build.sh python

#: make image NAME=node   a runtime more: node, python-data, toolchain (rootfs/README.md)
image:
	@[ -e rootfs/$(NAME).pkgs ] || { echo "make image NAME=...: one of $$(cd rootfs && echo *.pkgs | sed 's/\.pkgs//g')" >&2; exit 1; }
	@tools/setup/packages.sh rootfs
	@tools/make/step '$(NAME) image' rootfs/build.sh $(NAME)

#:                  (tools/image makes one of a directory, of packages, of an OCI or Docker archive)

#: make loopback    the kernel of dolania run --loopback
loopback: packages
	@tools/make/step 'loopback kernel' kernel-config/build.sh loopback

#: make install     into $(DESTDIR)$(PREFIX); run 'make setup' before
#:                  (IMAGES="base python" installs those alone; else all that are built but python-test)
install:
	@tools/make/install '$(PREFIX)' '$(DESTDIR)' $(IMAGES)

#: make uninstall   remove what 'make install' put into $(DESTDIR)$(PREFIX), and nothing else
uninstall:
	@tools/make/install --remove '$(PREFIX)' '$(DESTDIR)'

#: make clean       remove what was built, but keep what took long (kernel, images,
#:                  emulated host); 'make distclean' removes build/ whole
clean:
	rm -rf build/bin build/libexec build/obj build/san build/tests build/setup

distclean: clean
	rm -rf build
