# How the programs are compiled.
#   SANITIZE=address,undefined   builds into build/san/ instead, with gcc and glibc

WARN   := -Wall -Wextra -Werror -Wconversion -Wshadow -Wvla
# Empty, as '#define _GNU_SOURCE' in a file is, so that both may be there.
COMMON := -std=gnu11 -O2 -g -D_GNU_SOURCE= $(WARN) -I. -MMD -MP -ftrivial-auto-var-init=zero

# gcc is asked where it is used, and once: the first make of a machine installs it.
MULTIARCH = $(eval MULTIARCH := $(shell gcc -print-multiarch))$(MULTIARCH)
LIBFDT    = $(eval LIBFDT := $(shell gcc -print-file-name=libfdt.a))$(LIBFDT)

# A static PIE of musl's. Its gcc knows none: the start file and the linker's options are ours.
PIE_CC  := -fPIE -fstack-protector-strong -ffunction-sections -fdata-sections
PIE_LD  := -static -no-pie -nostartfiles -l:rcrt1.o -l:crti.o -l:crtn.o -Wl,-pie,--no-dynamic-linker,-z,text \
	-Wl,--gc-sections,-z,relro,-z,now,-z,noexecstack

ifdef SANITIZE
B       := build/san
SAN     := -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer
VMM_CC  := gcc
VMM_ARCH_FLAGS := $(SAN)
# Its root holds the dynamic linker, libc and libm (libraries.c), and nothing else.
VMM_LD  := $(SAN) -static-libasan -static-libubsan -static-libgcc
CMD_LD  := $(SAN) -pie -Wl,--wrap=mount
CMD_SAN := $(B)/obj/tests/hostile/sanitizer/libraries.o
VMM_SAN := $(B)/obj/tests/hostile/sanitizer/options.o
else
B       := build
SAN     :=
CMD_LD  := -static-pie
CMD_SAN :=
VMM_SAN :=
VMM_CC  := musl-gcc
# The kernel's and libfdt's headers, after musl's own.
VMM_ARCH_FLAGS = -idirafter /usr/include -idirafter /usr/include/$(MULTIARCH) \
	$(PIE_CC)
VMM_LD  := $(PIE_LD)
endif

VMM_SRC := $(wildcard vmm/*.c vmm/*/*.c)
CMD_SRC := $(wildcard tools/dolania/*.c)
LIB_SRC := $(wildcard tools/libdolania/*.c)
VMM_OBJ := $(VMM_SRC:%.c=$(B)/obj/%.o)
CMD_OBJ := $(CMD_SRC:%.c=$(B)/obj/%.o)
LIB_OBJ := $(LIB_SRC:%.c=$(B)/obj/%.o)
EXTRACT_SRC := $(wildcard tools/extract/*.c)
EXTRACT_OBJ := $(EXTRACT_SRC:%.c=$(B)/obj/%.o)
PROBE_OBJ := $(B)/obj/tools/setup/kvm-probe.o

PROGRAMS := $(if $(wildcard vmm/main.c),$(B)/libexec/dolania/dolania-vmm) \
	$(if $(CMD_SRC),$(B)/bin/dolania) \
	$(B)/libexec/dolania/dolania-extract

$(B)/obj/vmm/%.o: vmm/%.c tools/make/build.mk
	@mkdir -p $(@D)
	$(VMM_CC) $(COMMON) $(VMM_ARCH_FLAGS) $(CFLAGS) -c -o $@ $<

$(B)/obj/tools/%.o: tools/%.c tools/make/build.mk
	@mkdir -p $(@D)
	gcc $(COMMON) $(SAN) -fPIE -D_FORTIFY_SOURCE=2 -fstack-protector-strong $(CFLAGS) -c -o $@ $<

# Static and without a sanitizer in every build: its root is empty. Its parser is
# fuzzed with them (tests/fuzz/run).
EXTRACT_CC := musl-gcc
$(B)/obj/tools/extract/%.o: tools/extract/%.c tools/make/build.mk
	@mkdir -p $(@D)
	$(EXTRACT_CC) $(COMMON) -idirafter /usr/include -idirafter /usr/include/$(MULTIARCH) \
		$(PIE_CC) -c -o $@ $<

$(B)/libexec/dolania/dolania-extract: $(EXTRACT_OBJ)
	@mkdir -p $(@D)
	$(EXTRACT_CC) $(PIE_LD) -o $@ $(EXTRACT_OBJ)

# What makes a sanitizer build work; not instrumented itself.
$(B)/obj/tests/%.o: tests/%.c tools/make/build.mk
	@mkdir -p $(@D)
	gcc $(COMMON) -fPIE $(CFLAGS) -c -o $@ $<

# The probe is also a program of its own; the command wants only the function.
$(PROBE_OBJ): CFLAGS += -DKVM_PROBE_NO_MAIN

$(B)/libexec/dolania/dolania-vmm: $(VMM_OBJ) $(VMM_SAN)
	@mkdir -p $(@D)
	$(VMM_CC) $(VMM_LD) -o $@ $(VMM_OBJ) $(VMM_SAN) $(LIBFDT)

$(B)/lib/libdolania.a: $(LIB_OBJ) $(PROBE_OBJ)
	@mkdir -p $(@D)
	rm -f $@
	ar rcsD $@ $^

$(B)/bin/dolania: $(CMD_OBJ) $(CMD_SAN) $(B)/lib/libdolania.a
	@mkdir -p $(@D)
	gcc $(CMD_LD) -Wl,-z,relro,-z,now -o $@ $(CMD_OBJ) $(CMD_SAN) $(B)/lib/libdolania.a -linih -ljansson -lsodium

# What a run may have without being asked: installed beside the images.
POLICIES := $(patsubst tools/policies/%,$(B)/share/dolania/policies/%,$(wildcard tools/policies/*.ini))
$(B)/share/dolania/policies/%.ini: tools/policies/%.ini
	@mkdir -p $(@D)
	cp $< $@

.PHONY: init
init: $(if $(wildcard guest/build.sh),build/share/dolania/init.cpio)

build/share/dolania/init.cpio: $(wildcard guest/*.c guest/*.h guest/build.sh)
	@mkdir -p $(@D)
	guest/build.sh $@

-include $(VMM_SAN:.o=.d) $(CMD_SAN:.o=.d) $(VMM_OBJ:.o=.d) $(CMD_OBJ:.o=.d) $(LIB_OBJ:.o=.d) $(PROBE_OBJ:.o=.d) $(EXTRACT_OBJ:.o=.d)
