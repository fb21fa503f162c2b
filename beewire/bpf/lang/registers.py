"""Where pt_regs has each register, by the names that assemblers have for it."""

import os

# In the order of `struct pt_regs` (arch/x86), 8 bytes each.
_X86_ORDER = (
    *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8"),
    *("rax", "rcx", "rdx", "rsi", "rdi", "orig_rax", "rip", "cs", "flags", "rsp"),
)
HIGH_BYTES = {"ah": "rax", "bh": "rbx", "ch": "rcx", "dh": "rdx"}


def offset_of(register: str, machine: str = os.uname().machine) -> int | None:
    """The offset in bytes of a register, or of what it is a part of; None: no such one."""
    if machine == "x86_64":
        name = _whole(register)
        return 8 * _X86_ORDER.index(name) if name in _X86_ORDER else None
    if machine == "aarch64":
        return _arm(register)
    return None


def _whole(register: str) -> str:
    """`rax` of eax, ax, al and ah; `r8` of r8d, r8w and r8b."""
    if register in HIGH_BYTES:
        return HIGH_BYTES[register]
    if register[:1] == "r" and register[1:2].isdigit():
        return register.rstrip("dwb")
    if register[:1] == "r":
        return register
    if register[:1] == "e":
        return f"r{register[1:]}"
    if register[-1:] == "l":  # al, but sil
        return f"r{register[:-1]}" if len(register) == 3 else f"r{register[0]}x"
    return f"r{register}"


def _arm(register: str) -> int | None:
    named = {"fp": 29, "lr": 30, "sp": 31, "wsp": 31, "pc": 32}
    digits = register[1:]
    if register[:1] in ("x", "w") and digits.isdigit() and int(digits) < 31:
        return 8 * int(digits)
    return 8 * named[register] if register in named else None
