"""Names that the kernel gives and takes."""

# Where a kernel built with CONFIG_DEBUG_INFO_BTF tells its own types.
VMLINUX = "/sys/kernel/btf/vmlinux"

_ALLOWED = frozenset(
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_."
)


def kernel_name(name: str) -> bytes:
    """At most 15 characters (BPF_OBJ_NAME_LEN), others than [A-Za-z0-9_.] made `_`."""
    return bytes([byte if byte in _ALLOWED else 0x5F for byte in name.encode()[:15]])


POLICY = "/etc/beewire/policy.toml"  # who may load what, where root wants to say so
