"""Why BPF_PROG_LOAD failed, in the words of the program's author.

Imported only after a refusal. The log's format is no interface (Linux 7.3 changed it):
what is not recognised is passed on as it stands, and the whole log is in the error.
"""

import errno
import re

from beewire.bpf.isa import format_insn
from beewire.bpf.kernel import explain, privilege, syscall
from beewire.bpf.kernel.advice import advise
from beewire.bpf.kernel.assemble import Image
from beewire.bpf.kernel.attempt import Attempt
from beewire.bpf.kernel.log import Reading, ending, in_words, read_log
from beewire.bpf.kernel.log_buffer import LARGEST, call_with_log
from beewire.bpf.kernel.path import line_at, steps_of, variables, way
from beewire.bpf.object import LineInfo, ProgramSpec
from beewire.errors import KernelError, VerifierError

# What the verifier gives up with: after a million steps, after 8192 branches.
_GIVES_UP = (errno.E2BIG, errno.EFAULT)
_GAVE_UP = re.compile(r"BPF program is too large|jumps is too complex")
_STEPS, _STATISTICS = 1, 4  # BPF_LOG_LEVEL1, BPF_LOG_STATS
_LAST_STEPS = 1 << 16

# What the kernel, as libbpf, makes of an instruction with an unknown CO-RE field.
_UNRESOLVED = "invalid func unknown#195896080"

_UNKNOWN_HELPER = re.compile(r"invalid func unknown#(\d+)")

_EMPTY_LOG = {
    errno.EINVAL: "this kernel does not know its program type or attach type, or does "
    "not allow them together",
    errno.ENOENT: "what it attaches to does not exist in this kernel",
}


def second_try(
    program: ProgramSpec, image: Image, attempt: Attempt, number: int
) -> int:
    """Load again with a log, to raise the reason; a descriptor should that succeed.

    `number` is the errno of the run without one. The run whose log did not fit (ENOSPC)
    says nothing of the program: it may even have been accepted.

    Raises:
        VerifierError: the verifier said something.
        NotPermitted: it never came to the verifier, for lack of a capability.
        KernelError: it never came to the verifier, for another reason.
    """
    gave_up = number in _GIVES_UP
    result, log = _last_steps(attempt) if gave_up else _load_with_log(attempt, _STEPS)
    if result >= 0:
        return result
    if result == -errno.ENOSPC:
        if not gave_up:
            raise _too_long(program, log, number)
        result = -number
    reading = read_log(ending(log))
    if reading.reason:
        raise refusal(program, image, reading, log, -result)
    raise _silent(program, len(image.insns), number)


def _last_steps(attempt: Attempt) -> tuple[int, str]:
    """The end of the log of a program that takes too many steps to keep them all.

    Kernels before 6.4 keep the beginning: then it is no more than what they ended with.
    """
    log = bytearray(_LAST_STEPS)
    level = _STEPS | _STATISTICS
    result = attempt.call(
        log_level=level, log_size=len(log), log_buf=syscall.address(log)
    )
    text = log.split(b"\0", 1)[0].decode(errors="replace")
    if result >= 0:
        return result, text
    if not _GAVE_UP.search(text):
        return _load_with_log(attempt, _STATISTICS)
    if result == -errno.ENOSPC:  # the first lines are lost, one perhaps in its middle
        text = text.partition("\n")[2]
    return result, text


def _load_with_log(attempt: Attempt, level: int) -> tuple[int, str]:
    """What a run gives whose log fits; ENOSPC where no buffer is large enough."""

    def call(size: int, place: int) -> tuple[int, int]:
        result = attempt.call(log_level=level, log_size=size, log_buf=place)
        return result, attempt.log_true_size

    return call_with_log(call)


def _too_long(program: ProgramSpec, log: str, number: int) -> VerifierError:
    message = (
        f"the kernel refused program {program.name!r}: {explain.reason(number)} "
        f"({errno.errorcode.get(number, number)}); the verifier's log is longer than the "
        f"{LARGEST} bytes that the kernel hands out: .log is a part of it"
    )
    return VerifierError(number, message, log=log)


def _silent(program: ProgramSpec, length: int, number: int) -> KernelError:
    about = f"load program {program.name!r} ({program.section})"
    if number in (errno.EINVAL, errno.E2BIG):
        _require(program)
    if number == errno.E2BIG:
        why = f"its {length} instructions are more than the kernel allows"
        return KernelError(number, "PROG_LOAD", f"cannot {about}: {why}")
    if number in _EMPTY_LOG:
        return KernelError(number, "PROG_LOAD", f"cannot {about}: {_EMPTY_LOG[number]}")
    needs = privilege.program_needs(program.kind)
    return explain.refusal(number, "PROG_LOAD", about, needs)


def _require(program: ProgramSpec) -> None:
    """Raise NotSupported where the kernel has no such programs, or attaches none so."""
    from beewire.bpf.kernel import features  # noqa: PLC0415 - rare

    wanted = [features.program_type(program.kind)]
    if program.attach_kind is not None:
        wanted.append(features.attach_kind(program.attach_kind))
    for feature in wanted:
        if feature.answer is features.Answer.NO:
            feature.require()


def refusal(
    program: ProgramSpec, image: Image, reading: Reading, log: str, number: int
) -> VerifierError:
    """The error for a refused program: where, why, what to write instead."""
    line = line_at(image.lines, reading.insn)
    place = f" at {line.file}:{line.line}" if line else ""
    advice = advise(reading.reason)
    why = f"{advice.meaning} ({reading.reason})" if advice else reading.reason
    if unknown := _UNKNOWN_HELPER.fullmatch(reading.reason):
        why = _missing_helper(int(unknown[1])) or why
    if _UNRESOLVED in reading.reason:
        why = f"{_unresolved(image, reading.insn)} does not exist in this kernel"
    error = VerifierError(
        number,
        f"the kernel refused program {program.name!r}{place}: {why}",
        log=log,
        insn=reading.insn,
    )
    steps = steps_of(ending(log))
    for note in (
        _excerpt(line),
        privilege.why_refused(reading.reason),
        advice and f"hint: {advice.cure}",
        _instruction(image, reading.insn),
        _registers(image, reading),
        "\n".join(variables(image, steps, reading.insn)),
        "\n".join(reading.causes) or way(image, steps),
        "\n".join(reading.details),
        f"the verifier's log is in .log ({len(log.splitlines())} lines)",
    ):
        if note:
            error.add_note(note)
    return error


def _missing_helper(number: int) -> str:
    """That this kernel has no such helper; "" where none has."""
    from beewire.bpf.lang.prototypes import by_number, names  # noqa: PLC0415 - rare

    if not 0 < number <= len(names()):
        return ""
    helper = by_number(number)
    return (
        f"this kernel has no helper bpf_{helper.name}, which Linux {helper.since} has"
    )


def _unresolved(image: Image, slot: int) -> str:
    """The CO-RE fact that this kernel does not have."""
    from beewire.bpf.object.listing import access_text  # noqa: PLC0415 - rare

    for core in (*image.core_relos, *image.patched):
        if core.slot == slot:
            return access_text(core.type, core.access)
    return "what this line reads"


def _excerpt(line: LineInfo | None) -> str:
    """The position as Python prints it: file and line, source, caret."""
    if line is None:
        return ""
    where = f'  File "{line.file}", line {line.line}'
    text = line.text.rstrip()
    if not text.strip():
        return where
    indent = len(text) - len(text.lstrip())
    caret = " " * max(line.column - 1 - indent, 0) + "^"
    return f"{where}\n    {text.lstrip()}\n    {caret}"


def _instruction(image: Image, slot: int) -> str:
    if not 0 <= slot < len(image.insns):
        return ""
    insn = image.insns[slot]
    return f"instruction {slot}: {format_insn(insn)}" if insn else ""


def _registers(image: Image, reading: Reading) -> str:
    """The registers that the reason, or else the instruction, speaks of, in words."""
    numbers = {int(number) for number in re.findall(r"\bR(\d+)", reading.reason)}
    if not numbers and 0 <= reading.insn < len(image.insns):
        insn = image.insns[reading.insn]
        numbers = {insn.dst, insn.src} if insn else set()
    return "\n".join(
        f"r{number} is {in_words(reading.registers[number])}"
        for number in sorted(numbers)
        if number in reading.registers
    )
