# Unit tests and lint: no root, no KVM, no network.
# Each tests/unit/*.c is one program; it gets all of the VMM that needs no KVM,
# compiled with gcc under AddressSanitizer and UBSan.

U        := build/san/unit
U_SAN    := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
U_FLAGS  := -std=gnu11 -O1 -g -D_GNU_SOURCE= $(WARN) -I. -MMD -MP $(U_SAN)
U_SRC    := $(wildcard vmm/base/*.c vmm/mem/*.c vmm/irq/*.c vmm/boot/*.c vmm/virtio/*.c)
U_OBJ    := $(U_SRC:%.c=$(U)/obj/%.o)
U_TESTS  := $(patsubst tests/unit/%.c,$(U)/%,$(wildcard tests/unit/*.c))

.PHONY: check check-build lint
check-build: $(U_TESTS)

$(U)/obj/%.o: %.c tools/make/check.mk
	@mkdir -p $(@D)
	gcc $(U_FLAGS) -c -o $@ $<

$(U)/libvmm.a: $(U_OBJ)
	@mkdir -p $(@D)
	rm -f $@
	ar rcsD $@ $^

$(U)/%: $(U)/obj/tests/unit/%.o $(if $(U_SRC),$(U)/libvmm.a)
	gcc $(U_SAN) -o $@ $^ -lfdt

.PRECIOUS: $(U)/obj/%.o
-include $(U_OBJ:.o=.d) $(U_TESTS:$(U)/%=$(U)/obj/tests/unit/%.d)

# Hostile guests: tests/hostile/run has the details.
.PHONY: hostile hostile-build
BUILD ?= release
#: make hostile     guests that attack; CASE=name: one of them, with its result
hostile: packages hostile-build
ifdef CASE
	@tools/with-kvm -- tests/hostile/run $(CASE) $(BUILD)
else
	@tests/run hostile
endif

hostile-build:
	@tests/hostile/run --build

lint:
	@tools/lint/layers.sh
	@tools/lint/style.sh
