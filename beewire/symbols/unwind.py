"""Callers by unwind tables: registers and a copy of the stack -> addresses.

For x86-64. Where code has no table (a compiler's in the process), frame pointers are
followed as far as they lead.
"""

import struct

from beewire.errors import ObjectError
from beewire.hints import Callable
from beewire.rows import Row
from beewire.symbols.cfi import Rule, UnwindTable, sleb, uleb
from beewire.symbols.image import Image
from beewire.symbols.process import Process

# What DWARF calls rbp, rsp and the return address on x86-64.
_RBP, _RSP, _RIP = 6, 7, 16
# Python's own recursion limit is 1000, with a few frames of C for each.
MOST_FRAMES = 1024
_WORD = struct.Struct("<Q")
_MASK = (1 << 64) - 1


class Registers(Row):
    """The registers that callers are found by."""

    ip: int
    sp: int
    bp: int


class Unwinder:
    """Finds callers in processes; remembers the tables of files, and what they said."""

    __slots__ = ("_rules", "_tables")

    def __init__(self) -> None:
        self._tables: dict[int, UnwindTable | None] = {}
        self._rules: dict[tuple[int, int], Rule | None] = {}

    def unwind(
        self, process: Process, registers: Registers, stack: bytes
    ) -> tuple[list[int], bool]:
        """The addresses of a stack, innermost first, and whether it is whole.

        `stack` is the memory from the stack pointer on. All addresses but the first are
        where a call returns to.
        """
        memory = Memory(stack, registers.sp)
        found = [registers.ip]
        here = registers
        while len(found) < MOST_FRAMES:
            rule = self._rule(process, here.ip - (1 if len(found) > 1 else 0))
            if rule is not None and rule.caller is None:
                return found, True  # the table says that nobody called it
            try:
                caller = step(rule, here, memory)
            except (struct.error, ValueError):
                return found, False
            if not caller.ip:
                return found, True
            if caller.sp <= here.sp or process.mappings.find(caller.ip - 1) is None:
                return found, False
            found.append(caller.ip)
            here = caller
        return found, False

    def _rule(self, process: Process, address: int) -> Rule | None:
        image, offset = process.image_at(address)
        if image is None:
            return None
        key = (id(image), offset)
        if key not in self._rules:
            self._rules[key] = self._looked_up(image, offset)
        return self._rules[key]

    def _looked_up(self, image: Image, offset: int) -> Rule | None:
        if id(image) not in self._tables:
            self._tables[id(image)] = image.unwind_table()
        table = self._tables[id(image)]
        address = image.elf.address_at(offset) if image.elf else None
        if table is None or address is None:
            return None
        try:
            return table.find(address)
        except ObjectError:
            return None


class Memory:
    """A copy of the stack: `word(address)`."""

    __slots__ = ("_data", "_start")

    def __init__(self, data: bytes, start: int) -> None:
        self._data, self._start = data, start

    def word(self, address: int) -> int:
        """The word at an address.

        Raises:
            ValueError: it was not copied.
        """
        at = address - self._start
        if at < 0 or at + 8 > len(self._data):
            raise ValueError("that part of the stack was not copied")
        return int(_WORD.unpack_from(self._data, at)[0])


def step(rule: Rule | None, here: Registers, memory: Memory) -> Registers:
    """The caller's registers.

    Raises:
        ValueError: they cannot be found.
    """
    if rule is None:
        # What frame pointers say, where there is no table.
        return Registers(memory.word(here.bp + 8), here.bp + 16, memory.word(here.bp))
    if rule.expression:
        cfa = evaluate(rule.expression, here, memory, [])
    elif rule.register == _RSP:
        cfa = here.sp + rule.offset
    elif rule.register == _RBP:
        cfa = here.bp + rule.offset
    else:
        raise ValueError("the frame is found by another register")

    def saved(place: int | bytes | None) -> int:
        if isinstance(place, bytes):
            return memory.word(evaluate(place, here, memory, [cfa]))
        return here.bp if place is None else memory.word(cfa + place)

    return Registers(saved(rule.caller), cfa, saved(rule.frame))


def evaluate(code: bytes, here: Registers, memory: Memory, stack: list[int]) -> int:
    """The value of a DWARF expression, as linkers and the C library write them.

    Raises:
        ValueError: it has operations that they do not use.
    """
    registers = {_RBP: here.bp, _RSP: here.sp, _RIP: here.ip}
    at = 0
    try:
        while at < len(code):
            op = code[at]
            at += 1
            if 0x30 <= op <= 0x4F:  # DW_OP_lit0...
                stack.append(op - 0x30)
            elif 0x70 <= op <= 0x8F:  # DW_OP_breg0...
                offset, at = sleb(code, at)
                stack.append(registers[op - 0x70] + offset)
            elif op == 0x06:  # DW_OP_deref
                stack.append(memory.word(stack.pop()))
            elif op == 0x23:  # DW_OP_plus_uconst
                value, at = uleb(code, at)
                stack.append(stack.pop() + value)
            elif op in {0x08, 0x09}:  # DW_OP_const1u, .._const1s
                stack.append(
                    int.from_bytes(code[at : at + 1], "little", signed=op == 9)
                )
                at += 1
            else:
                right, left = stack.pop(), stack.pop()
                stack.append(_OPERATORS[op](left, right) & _MASK)
        return stack.pop()
    except (IndexError, KeyError) as error:
        raise ValueError(
            "the frame is found by an expression that is unknown"
        ) from error


_OPERATORS: dict[int, Callable[[int, int], int]] = {
    0x1A: lambda left, right: left & right,
    0x1C: lambda left, right: left - right,
    0x22: lambda left, right: left + right,
    0x24: lambda left, right: left << (right & 63),
    0x2A: lambda left, right: int(left >= right),
}
