"""What the verifier's most frequent messages mean, and what to write instead."""

import re
from typing import NamedTuple


class Advice(NamedTuple):
    """One message of the verifier: what it means, and what to do about it."""

    meaning: str
    cure: str


_TABLE = (
    (
        r"(?:invalid mem access '|arithmetic on )\w+_or_null|[Pp]ossibly NULL pointer",
        "this may be None here",
        "test it first: `if x is None: return`",
    ),
    (
        r"R\d+ invalid mem access '(?:scalar|inv)'",
        "this is a number where an address is needed",
        "read kernel memory through a Kernel class, a map through what lookup() gave",
    ),
    (
        r"R\d+ type=(\w+)_or_null expected=",
        "this argument may be None here",
        "test it first: `if x is None: return`",
    ),
    (
        r"R\d+ type=(\w+) expected=(.+)",
        "an argument is a {0} where the helper takes {1}",
        "pass a value of the type that the helper names",
    ),
    (
        r"invalid access to map value, value_size=(\d+) off=(-?\d+) size=(\d+)",
        "this reaches byte {1}, outside of a map value of {0} bytes",
        "compare the index with the length first, or mask it: `i & 7`",
    ),
    (
        r"invalid access to packet",
        "this may pass the end of the packet",
        "test what `ctx.at(offset, Type)` gave for None; put an index into the offset",
    ),
    (
        r"unbounded (?:memory access|m(?:in|ax) value)|R\d+ min value is negative",
        "this index has no bound that the kernel can see",
        "compare the index with the length first, or mask it: `i & 7`",
    ),
    (
        r"invalid bpf_context access off=(\d+) size=(\d+)",
        "this program may not access {1} bytes at byte {0} of its context",
        "some fields are read-only, or belong to another kind of program or hook",
    ),
    (r"R\d+ !read_ok", "this value was never set on one of the paths", "set it first"),
    (
        r"invalid (?:indirect )?read from stack",
        "this memory was not fully set before it is read",
        "set every field, padding included",
    ),
    (
        r"invalid (?:unbounded )?variable-offset [\w ]+ stack",
        "this index may reach outside of the stack",
        "compare the index with the length first, or mask it: `i & 7`",
    ),
    (
        r"invalid (?:write to )?stack",
        "this lies outside of the 512 bytes of stack",
        "keep large data in a map",
    ),
    (
        r"(?:program of this type cannot use helper|unknown func) (\w+)#\d+",
        "this kind of program has no helper {0} in this kernel",
        "call it from a program of a kind that has it",
    ),
    (
        r"invalid func unknown#195896080",
        "a field or type that this line reads does not exist in this kernel",
        "look for it in `bpftool btf dump file /sys/kernel/btf/vmlinux format c`",
    ),
    (
        r"cannot call GPL-restricted function",
        "this helper is only for programs under the GPL",
        'declare the license "Dual BSD/GPL" or "GPL"',
    ),
    (
        r"BPF program is too large|too many (?:states|insns)|too complex",
        "the kernel gave up after following a million instructions, here at the end",
        (
            "what runs again and again here gives it another state each time: bound the loop "
            "by a smaller constant, or put it into a subprogram(is_global=True)"
        ),
    ),
    (
        r"number of funcs in func_info doesn't match number of subprogs",
        "this kernel does not know functions as arguments: callbacks came with Linux 5.13",
        "write the loop out, or test beforehand what the kernel has",
    ),
    (
        r"Only .* programs can be sleepable|is not sleepable",
        "this kernel does not know such a program, or this hook, as sleepable",
        "leave `sleepable` out",
    ),
    (
        r"(?:infinite loop detected|back-edge from insn)",
        "this loop has no end that the kernel can see",
        "bound it: `for i in range(n)` with a constant n",
    ),
    (
        r"Unreleased reference",
        "what is taken here is not given back on every path",
        "release a socket, submit or discard a record on every way out",
    ),
    (
        r"(?:At program exit the register R0|R0 has (?:value|unknown))",
        "the program returns a value that its hook does not take",
        "return one of the values of the hook, such as 0 or 1",
    ),
    (
        r"R\d+ m(?:in|ax) value is outside of the allowed memory range",
        "this may reach outside of the memory behind it",
        "compare the index with the length first, or mask it: `i & 7`",
    ),
    (
        r"combined stack size of \d+ calls is (\d+)",
        "together the functions on the way here use {0} of 512 bytes of stack",
        "keep large data in a map",
    ),
    (
        r"cannot pass map_type (\d+) into func (\w+)#\d+",
        "helper {1} does not take this kind of map",
        "use a map of the kind that the helper is for",
    ),
    (
        r"calling kernel function (\w+) is not allowed",
        "this kind of program may not call the kernel function {0}",
        "call it from a program of a kind that may",
    ),
    (
        r"dereference of modified ctx ptr",
        "the context is reached by an offset that is not constant",
        "read each field of the context by its name",
    ),
    (
        r"unknown opcode|invalid .*BPF_ALU|BPF_\w+ uses reserved fields",
        "this kernel does not know the instruction",
        "compile for a lower instruction set, such as v3",
    ),
    (
        r"write into map forbidden|cannot write into rdonly",
        "this is read-only",
        "keep what changes in a map or in a Global that is no constant",
    ),
    (
        r"misaligned",
        "this address is not a multiple of the size that is read",
        "read it in smaller pieces",
    ),
    (
        r"unreachable insn",
        "the program contains instructions that nothing leads to",
        "report it: the compiler should have left them out",
    ),
)


def advise(reason: str) -> Advice | None:
    """The advice for a message of the verifier, or None for an unknown one."""
    for pattern, meaning, cure in _TABLE:
        found = re.search(pattern, reason)
        if found:
            return Advice(meaning.format(*found.groups()), cure)
    return None
