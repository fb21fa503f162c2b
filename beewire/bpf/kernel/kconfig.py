"""The variables of `.kconfig`: what the running kernel was configured with.

    extern int LINUX_KERNEL_VERSION __kconfig;
    extern enum libbpf_tristate CONFIG_BPF_SYSCALL __kconfig __weak;

The configuration is read from /proc/config.gz, or where distributions put it.
"""

import errno
import os
import sys

from beewire.bpf.btf import Array, Enum, Int, Type, strip
from beewire.bpf.kernel.kallsyms import has_symbol
from beewire.bpf.object import DataSection, ProgramKind, Variable
from beewire.errors import NotSupported, SpecError
from beewire.hints import Mapping

SECTION = ".kconfig"
_GET_ATTACH_COOKIE = 174  # enum bpf_func_id
_TRISTATE = {"n": 0, "y": 1, "m": 2}  # enum libbpf_tristate
# What the kernel's functions of system calls begin with, where they have a wrapper.
SYSCALL_PREFIXES = {
    "x86_64": "__x64_sys_",
    "aarch64": "__arm64_sys_",
    "riscv64": "__riscv_sys_",
    "s390x": "__s390x_sys_",
}


def fill(
    section: DataSection, content: bytearray, given: Mapping[str, int | bytes]
) -> None:
    """Put the kernel's configuration into `content`; what is `given` is there already.

    Raises:
        NotSupported: the kernel is configured without an option that is not weak.
        SpecError: a variable whose type does not fit its option.
    """
    wanted = [each for each in section.variables if each.name not in given]
    if not wanted:
        return
    options = None
    for variable in wanted:
        if variable.name.startswith("CONFIG_"):
            options = read_options() if options is None else options
            value = options.get(variable.name)
        else:
            value = _virtual(variable.name)
        if value is not None:
            end = variable.offset + variable.size
            content[variable.offset : end] = _encoded(variable, value)
        elif not variable.weak:
            message = f"the option {variable.name} of {SECTION}"
            if options is not None and not options:
                message += ": neither /proc/config.gz nor /boot tells its configuration"
            raise NotSupported(errno.ENOENT, message)


def read_options() -> dict[str, str]:
    """CONFIG_* by name, as in the file; empty where the kernel does not tell."""
    release = os.uname().release
    places = (
        f"/boot/config-{release}",
        f"/lib/modules/{release}/config",
        "/proc/config.gz",
    )
    for place in places:
        try:
            with open(place, "rb") as file:  # noqa: PTH123 - no pathlib here
                content = file.read()
        except OSError:
            continue
        if place.endswith(".gz"):
            import gzip  # noqa: PLC0415 - rare

            content = gzip.decompress(content)
        lines = content.decode(errors="replace").split("\n")
        pairs = [line.partition("=") for line in lines if line.startswith("CONFIG_")]
        return {name: value for name, _, value in pairs}
    return {}


def _virtual(name: str) -> str | None:
    """What libbpf adds to the options; None for what it does not know."""
    uname = os.uname()
    match name:
        case "LINUX_KERNEL_VERSION":
            # Debian counts builds in its releases, such as 6.1.0-56 of Linux 6.1.158.
            _, is_debian, told = uname.version.partition("Debian ")
            parts = [
                int(part) for part in _numbers(told if is_debian else uname.release)
            ]
            major, minor, patch = [*parts, 0, 0, 0][:3]
            return str(major << 16 | minor << 8 | min(patch, 255))
        case "LINUX_HAS_SYSCALL_WRAPPER":
            prefix = SYSCALL_PREFIXES.get(uname.machine, "")
            return "y" if prefix and has_symbol(f"{prefix}bpf") else "n"
        case "LINUX_HAS_BPF_COOKIE":
            from beewire.bpf.kernel.features import helper  # noqa: PLC0415 - rare

            found = helper(_GET_ATTACH_COOKIE, ProgramKind.KPROBE)
            return "y" if found.available else "n"
        case _:
            return None


def _numbers(release: str) -> list[str]:
    """The numbers that a release begins with: 6, 18 and 44 of "6.18.44-fc"."""
    digits = "".join([c if c.isdigit() or c == "." else " " for c in release])
    return [part for part in digits.split(" ")[0].split(".") if part]


def _encoded(variable: Variable, value: str) -> bytes:
    node = strip(variable.type)
    if isinstance(node, Array):
        return _text(variable, value)
    if value in _TRISTATE:
        return _number(variable, _state(variable, node, value))
    try:
        number = int(value, 0)
    except ValueError:
        raise _misfit(variable, value) from None
    if isinstance(node, Int) and not node.bool and not (node.char and node.size == 1):
        return _number(variable, number)
    raise _misfit(variable, value)


def _state(variable: Variable, node: Type | None, value: str) -> int:
    if isinstance(node, Enum) and node.name == "libbpf_tristate":
        return _TRISTATE[value]
    # clang calls `char` signed and no character.
    if isinstance(node, Int) and node.bool and value != "m":
        return _TRISTATE[value]
    if isinstance(node, Int) and node.size == 1 and not node.bool:
        return ord(value)
    raise _misfit(variable, value)


def _text(variable: Variable, value: str) -> bytes:
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        raise _misfit(variable, value)
    # As libbpf: a longer text is cut, and always ends with a NUL.
    text = value[1:-1].encode(errors="replace")[: variable.size - 1]
    return text.ljust(variable.size, b"\0")


def _number(variable: Variable, value: int) -> bytes:
    node = strip(variable.type)
    signed = isinstance(node, Int | Enum) and node.signed
    try:
        return value.to_bytes(variable.size, sys.byteorder, signed=signed)
    except OverflowError:
        raise _misfit(variable, str(value)) from None


def _misfit(variable: Variable, value: str) -> SpecError:
    return SpecError(
        f"this kernel has {variable.name}={value}, which the type of that variable in "
        f"{SECTION} cannot hold"
    )
