"""What the specifications call the bits and registers of the ledger."""

# virtio 1.2 §4.2.2
REGISTERS = {
    0x000: "MagicValue", 0x004: "Version", 0x008: "DeviceID", 0x00c: "VendorID", 0x010: "DeviceFeatures",
    0x014: "DeviceFeaturesSel", 0x020: "DriverFeatures", 0x024: "DriverFeaturesSel", 0x030: "QueueSel",
    0x034: "QueueNumMax", 0x038: "QueueNum", 0x044: "QueueReady", 0x050: "QueueNotify", 0x060: "InterruptStatus",
    0x064: "InterruptACK", 0x070: "Status", 0x080: "QueueDescLow", 0x084: "QueueDescHigh", 0x090: "QueueDriverLow",
    0x094: "QueueDriverHigh", 0x0a0: "QueueDeviceLow", 0x0a4: "QueueDeviceHigh", 0x0ac: "SHMSel", 0x0b0: "SHMLenLow",
    0x0b4: "SHMLenHigh", 0x0b8: "SHMBaseLow", 0x0bc: "SHMBaseHigh", 0x0c0: "QueueReset", 0x0fc: "ConfigGeneration",
}
IOAPIC = {0x00: "IOREGSEL", 0x10: "IOWIN"}
# virtio 1.2 §5.2.3 for disks, §6 for all
DISK_FEATURES = {1: "SIZE_MAX", 2: "SEG_MAX", 4: "GEOMETRY", 5: "RO", 6: "BLK_SIZE", 9: "FLUSH", 10: "TOPOLOGY",
                 11: "CONFIG_WCE", 12: "MQ", 13: "DISCARD", 14: "WRITE_ZEROES"}
FEATURES = {28: "RING_INDIRECT_DESC", 29: "RING_EVENT_IDX", 32: "VERSION_1", 33: "ACCESS_PLATFORM", 34: "RING_PACKED",
            35: "IN_ORDER", 36: "ORDER_PLATFORM", 38: "NOTIFICATION_DATA", 40: "RING_RESET"}

LEAF_1_EDX = {0: "FPU", 1: "VME", 2: "DE", 3: "PSE", 4: "TSC", 5: "MSR", 6: "PAE", 7: "MCE", 8: "CX8", 9: "APIC", 11: "SEP",
              12: "MTRR", 13: "PGE", 14: "MCA", 15: "CMOV", 16: "PAT", 17: "PSE36", 18: "PSN", 19: "CLFSH", 21: "DS",
              22: "ACPI", 23: "MMX", 24: "FXSR", 25: "SSE", 26: "SSE2", 27: "SS", 28: "HTT", 29: "TM", 31: "PBE"}
# (leaf, subleaf, register): {bit: name}; these words are bits that stand for abilities, all others are values
EAX, EBX, ECX, EDX = range(4)
CPUID = {
    (0x1, 0, ECX): {0: "SSE3", 1: "PCLMULQDQ", 2: "DTES64", 3: "MONITOR", 4: "DS_CPL", 5: "VMX", 6: "SMX", 7: "EIST",
                    8: "TM2", 9: "SSSE3", 12: "FMA", 13: "CX16", 15: "PDCM", 17: "PCID", 18: "DCA", 19: "SSE4_1",
                    20: "SSE4_2", 21: "x2APIC", 22: "MOVBE", 23: "POPCNT", 24: "TSC_DEADLINE", 25: "AES",
                    26: "XSAVE", 27: "OSXSAVE", 28: "AVX", 29: "F16C", 30: "RDRAND", 31: "HYPERVISOR"},
    (0x1, 0, EDX): LEAF_1_EDX,
    (0x6, 0, EAX): {0: "DTHERM", 1: "TURBO", 2: "ARAT", 4: "PLN", 5: "ECMD", 7: "HWP"},
    (0x7, 0, EBX): {0: "FSGSBASE", 1: "TSC_ADJUST", 2: "SGX", 3: "BMI1", 4: "HLE", 5: "AVX2", 7: "SMEP", 8: "BMI2",
                    9: "ERMS", 10: "INVPCID", 11: "RTM", 14: "MPX", 16: "AVX512F", 18: "RDSEED", 19: "ADX",
                    20: "SMAP", 23: "CLFLUSHOPT", 24: "CLWB", 25: "PT", 29: "SHA"},
    (0x7, 0, ECX): {2: "UMIP", 3: "PKU", 4: "OSPKE", 5: "WAITPKG", 7: "SHSTK", 8: "GFNI", 9: "VAES", 10: "VPCLMULQDQ",
                    16: "LA57", 22: "RDPID"},
    (0x7, 0, EDX): {4: "FSRM", 10: "MD_CLEAR", 20: "IBT", 24: "AMX_TILE", 26: "SPEC_CTRL", 27: "STIBP",
                    28: "FLUSH_L1D", 29: "ARCH_CAPABILITIES", 30: "CORE_CAPABILITIES", 31: "SSBD"},
    (0xd, 0, EAX): {0: "x87", 1: "SSE state", 2: "AVX state", 5: "AVX512 opmask", 9: "PKRU", 17: "TILECFG", 18: "TILEDATA"},
    (0xd, 1, EAX): {0: "XSAVEOPT", 1: "XSAVEC", 2: "XGETBV1", 3: "XSAVES"},
    (0x40000001, 0, EAX): {0: "CLOCKSOURCE", 1: "NOP_IO_DELAY", 2: "MMU_OP", 3: "CLOCKSOURCE2", 4: "ASYNC_PF",
                           5: "STEAL_TIME", 6: "PV_EOI", 7: "PV_UNHALT", 9: "PV_TLB_FLUSH", 11: "PV_SEND_IPI",
                           12: "POLL_CONTROL", 13: "PV_SCHED_YIELD", 14: "ASYNC_PF_INT", 24: "CLOCKSOURCE_STABLE"},
    (0x80000001, 0, ECX): {0: "LAHF_LM", 1: "CMP_LEGACY", 2: "SVM", 3: "EXTAPIC", 4: "CR8_LEGACY", 5: "LZCNT (ABM)",
                           6: "SSE4A", 7: "MISALIGNSSE", 8: "3DNOWPREFETCH", 9: "OSVW", 10: "IBS", 11: "XOP", 12: "SKINIT",
                           16: "FMA4", 22: "TOPOEXT", 23: "PERFCTR_CORE"},
    (0x80000001, 0, EDX): {**{b: f"{n} (AMD's copy)" for b, n in LEAF_1_EDX.items() if b not in (11, 19, 20, 22, 25, 26)},
                           11: "SYSCALL", 20: "NX", 22: "MMXEXT", 25: "FXSR_OPT", 26: "PDPE1GB", 27: "RDTSCP", 29: "LM",
                           30: "3DNOWEXT", 31: "3DNOW"},
    (0x80000007, 0, EDX): {8: "INVARIANT_TSC"},
    (0x80000008, 0, EBX): {0: "CLZERO", 2: "XSAVEERPTR", 4: "RDPRU", 9: "WBNOINVD", 12: "IBPB", 14: "IBRS", 15: "STIBP",
                           24: "SSBD", 25: "VIRT_SSBD"},
}
# Of these the ledger says that a guest never has them.
NEVER = [((0x1, 0, ECX), "VMX"), ((0x80000001, 0, ECX), "SVM"), ((0x1, 0, ECX), "PDCM"),
         ((0x80000001, 0, ECX), "PERFCTR_CORE"), ((0x1, 0, ECX), "MONITOR"), ((0x1, 0, EDX), "MTRR"),
         ((0x1, 0, EDX), "MCE"), ((0x1, 0, EDX), "MCA"),
         *(((0x80000001, 0, EDX), f"{name} (AMD's copy)") for name in ("VME", "MTRR", "MCE", "MCA")), ((0x7, 0, EBX), "SGX"), ((0x7, 0, EBX), "RTM"),
         ((0x7, 0, EBX), "PT"), ((0x7, 0, EBX), "AVX512F"), ((0x7, 0, ECX), "PKU"), ((0x7, 0, ECX), "WAITPKG"),
         ((0x7, 0, ECX), "LA57"), ((0x7, 0, EDX), "AMX_TILE"), ((0x40000001, 0, EAX), "ASYNC_PF"),
         ((0x40000001, 0, EAX), "STEAL_TIME"), ((0x40000001, 0, EAX), "PV_EOI")]
NEVER_LEAVES = {0xa: "performance counters", 0xf: "cache monitoring", 0x12: "SGX", 0x14: "processor trace",
                0x8000000a: "SVM", 0x8000001b: "IBS", 0x8000001f: "SEV", 0x80000022: "AMD's performance counters"}

MSRS = {
    0x10: "TSC", 0x1b: "APIC_BASE", 0x3b: "TSC_ADJUST", 0x8b: "microcode revision", 0x174: "SYSENTER_CS",
    0x175: "SYSENTER_ESP", 0x176: "SYSENTER_EIP", 0x1a0: "MISC_ENABLE", 0x277: "PAT", 0x6e0: "TSC_DEADLINE",
    0x4b564d00: "KVM_WALL_CLOCK_NEW", 0x4b564d01: "KVM_SYSTEM_TIME_NEW", 0xc0000080: "EFER", 0xc0000081: "STAR",
    0xc0000082: "LSTAR", 0xc0000083: "CSTAR", 0xc0000084: "SYSCALL_MASK", 0xc0000100: "FS_BASE",
    0xc0000101: "GS_BASE", 0xc0000102: "KERNEL_GS_BASE", 0xc0000103: "TSC_AUX", 0xc0010015: "HWCR (AMD)",
}
