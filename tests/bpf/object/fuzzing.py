"""Coverage-guided fuzzing of what reads objects: ELF, .BTF, .BTF.ext and kept indexes.

    python -m tests.bpf.object.fuzzing --seconds 120 [--seed 1] [--keep DIRECTORY]

An input that reaches a line from a line that none reached it from before joins the
corpus, and is changed further. Whatever comes out must be a value or a BeewireError, of
`read` an ObjectError, within a second of CPU time and 256 MiB: the rest is a finding.
"""

import argparse
import random
import resource
import signal
import struct
import sys
import time
from binascii import crc32
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

from beewire.bpf.btf import Builder, Index, decode
from beewire.bpf.kernel.assemble import assemble
from beewire.bpf.object import ObjectSpec, elf, read, write
from beewire.bpf.object.core import relocate_for
from beewire.errors import BeewireError, ObjectError

_WATCHED = tuple(f"/beewire/bpf/{room}/" for room in ("object", "btf", "isa"))
_SECONDS = 1.0
_MEMORY = 256 << 20
_NUMBERS = (
    *(0, 1, 2, 3, 4, 7, 8, 15, 16, 24, 63, 64, 65, 127, 128, 255, 256, 4096),
    *(0x7FFF, 0x8000, 0xFFFF, 0x10000, 0xFFFFFF, 0x1000000, 0x7FFFFFFF, 0x80000000),
    *(0xFFFFFFF0, 0xFFFFFFFE, 0xFFFFFFFF),
)


class Finding(NamedTuple):
    """An input that brought about what no input may, and what that was."""

    target: str
    data: bytes
    error: str


class _TooLongError(Exception):
    pass


# --- what is fuzzed ---


def read_object(data: bytes) -> None:
    """Everything that can be done to an object without a kernel."""
    try:
        spec = read(data)
    except ObjectError:
        return
    use(spec)


def use(spec: ObjectSpec) -> None:
    """What was read is written, and its programs are put together."""
    for work in (_write, _assemble, _relocate):
        try:
            work(spec)
        except BeewireError:
            continue


def _write(spec: ObjectSpec) -> None:
    write(spec)


def _assemble(spec: ObjectSpec) -> None:
    for program in spec.programs.values():
        assemble(program, spec)


def _relocate(spec: ObjectSpec) -> None:
    builder = Builder()
    for program in spec.programs.values():
        for relo in program.core_relos:
            builder.add(relo.type)
    relocate_for(spec, Index.build(builder.encode()))


def read_types(data: bytes) -> None:
    """A .BTF by itself, such as a kernel's."""
    try:
        index = decode(data)
        Index.load(index.dump(), data)
        builder = Builder()
        for number in range(1, len(index)):
            builder.add(index.type(number))
        builder.encode()
    except BeewireError:
        return


def read_kept(data: bytes) -> None:
    """An index of BTF as it is kept between processes, and its BTF: one behind the other.

    The checksum is made right, for what gets past it.
    """
    length = int.from_bytes(data[:4], "little") % (len(data) or 1)
    types, dump = data[4 : 4 + length], data[4 + length :]
    dump = dump[:8] + crc32(dump[12:]).to_bytes(4, "little") + dump[12:]
    try:
        index = Index.load(dump, types)
        for number in range(1, min(len(index), 2000)):
            node = index.type(number)
            if node is not None:
                node.references()
                index.find(node.name, node.kind)
    except BeewireError:
        return


TARGETS: dict[str, Callable[[bytes], None]] = {
    "object": read_object,
    "types": read_types,
    "kept": read_kept,
}


# --- coverage ---


class Coverage:
    """Which lines of the readers were reached from which."""

    def __init__(self) -> None:
        self.seen: set[tuple[CodeType, int, int]] = set()
        self._watched: dict[CodeType, bool] = {}
        self.fresh = False

    def _trace(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        code = frame.f_code
        watched = self._watched.get(code)
        if watched is None:
            name = code.co_filename
            watched = self._watched[code] = any(each in name for each in _WATCHED)
        if not watched:
            return None
        last = 0

        def line(frame: FrameType, _event: str, _argument: Any) -> Any:
            nonlocal last
            edge = code, last, frame.f_lineno
            if edge not in self.seen:
                self.seen.add(edge)
                self.fresh = True
            last = frame.f_lineno
            return line

        return line

    def run(self, work: Callable[[bytes], None], data: bytes) -> bool:
        """Do the work, and tell whether it went where none went before."""
        self.fresh = False
        sys.settrace(self._trace)
        try:
            work(data)
        finally:
            sys.settrace(None)
        return self.fresh


# --- mutation ---


def mutate(random_: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """`data`, changed in a few places."""
    blob = bytearray(data)
    for _ in range(random_.choice((1, 1, 1, 2, 3, 6))):
        random_.choice(_MUTATIONS)(random_, blob, others)
    return bytes(blob)


def _set_number(random_: random.Random, blob: bytearray, _: Sequence[bytes]) -> None:
    size, code = random_.choice(((1, "B"), (2, "H"), (4, "I"), (8, "Q")))
    if len(blob) < 8:
        return
    place = random_.randrange(0, len(blob) - size + 1)
    place -= place % size
    value = random_.choice(_NUMBERS) & (1 << 8 * size) - 1
    struct.pack_into(f"<{code}", blob, place, value)


def _nudge(random_: random.Random, blob: bytearray, _: Sequence[bytes]) -> None:
    if len(blob) < 8:
        return
    place = random_.randrange(0, len(blob) - 3) & ~3
    (value,) = struct.unpack_from("<I", blob, place)
    change = random_.choice((-8, -4, -1, 1, 4, 8, 16))
    struct.pack_into("<I", blob, place, value + change & 0xFFFFFFFF)


def _copy_word(random_: random.Random, blob: bytearray, _: Sequence[bytes]) -> None:
    """References that lead elsewhere, among them to themselves."""
    if len(blob) < 16:
        return
    source = random_.randrange(0, len(blob) - 3) & ~3
    place = random_.randrange(0, len(blob) - 3) & ~3
    blob[place : place + 4] = blob[source : source + 4]


def _set_section(random_: random.Random, blob: bytearray, _: Sequence[bytes]) -> None:
    """A field of a section's header."""
    if len(blob) < 64:
        return
    table, count = struct.unpack_from("<Q", blob, 40)[0], blob[60]
    place = table + 64 * random_.randrange(count or 1)
    place += random_.choice((0, 4, 8, 24, 32, 40, 44, 48, 56))
    if place + 4 <= len(blob):
        struct.pack_into("<I", blob, place, random_.choice(_NUMBERS))


def _within_section(
    random_: random.Random, blob: bytearray, _: Sequence[bytes]
) -> None:
    """A number in a section that readers look at closely."""
    try:
        file = elf.decode(bytes(blob))
    except ObjectError:
        return
    names = (".BTF", ".BTF.ext", ".symtab", ".maps", ".struct_ops")
    chosen = [
        section
        for section in file.sections
        if section.name in names or section.name.startswith(".rel")
    ]
    if not chosen:
        return
    section = random_.choice(chosen)
    start = bytes(blob).find(section.content) if section.content else -1
    if start < 0 or len(section.content) < 4:
        return
    place = start + (random_.randrange(0, len(section.content) - 3) & ~3)
    (value,) = struct.unpack_from("<I", blob, place)
    new = random_.choice((*_NUMBERS, value + 1, value - 1, value ^ 1 << 24))
    struct.pack_into("<I", blob, place, new & 0xFFFFFFFF)


def _cut(random_: random.Random, blob: bytearray, _: Sequence[bytes]) -> None:
    if len(blob) > 16 and random_.random() < 0.2:
        del blob[random_.randrange(16, len(blob)) :]


def _splice(random_: random.Random, blob: bytearray, others: Sequence[bytes]) -> None:
    other = random_.choice(others)
    length = min(len(other), len(blob), random_.choice((8, 16, 24, 64, 256)))
    if length:
        source = random_.randrange(0, len(other) - length + 1) & ~7
        place = random_.randrange(0, len(blob) - length + 1) & ~7
        blob[place : place + length] = other[source : source + length]


_MUTATIONS = (
    _set_number,
    _nudge,
    _copy_word,
    _set_section,
    _within_section,
    _within_section,
    _cut,
    _splice,
)


# --- the loop ---


class Tally:
    """How much a run did: inputs tried, and how many of them led to new places."""

    def __init__(self) -> None:
        self.inputs = 0
        self.fresh = 0
        self.edges = 0

    def __str__(self) -> str:
        return f"{self.inputs} inputs, {self.fresh} kept, {self.edges} edges"


def fuzz(
    target: str,
    seeds: Sequence[bytes],
    *,
    seed: int,
    rounds: int | None = None,
    seconds: float | None = None,
    tally: Tally | None = None,
) -> Iterator[Finding]:
    """Yield what was found in so many rounds, or so much time; the same for one seed."""
    random_, coverage, work = random.Random(seed), Coverage(), TARGETS[target]
    tally = tally or Tally()
    corpus = list(seeds)
    for data in seeds:
        coverage.run(work, data)
    end = None if seconds is None else time.monotonic() + seconds
    while tally.inputs != rounds and (end is None or time.monotonic() < end):
        tally.inputs += 1
        # What was found last is changed most.
        place = max(random_.randrange(len(corpus)), random_.randrange(len(corpus)))
        data = mutate(random_, corpus[place], corpus)
        error, fresh = attempt(coverage, work, data)
        if error:
            yield Finding(target, data, error)
        elif fresh:
            corpus.append(data)
            tally.fresh += 1
            tally.edges = len(coverage.seen)


def attempt(
    coverage: Coverage, work: Callable[[bytes], None], data: bytes
) -> tuple[str, bool]:
    """What went wrong with this input, if anything, and whether it led to new places."""

    def stop(*_: object) -> None:
        raise _TooLongError

    before = signal.signal(signal.SIGVTALRM, stop)
    # Tracing makes everything several times slower.
    signal.setitimer(signal.ITIMER_VIRTUAL, _SECONDS * 8)
    try:
        return "", coverage.run(work, data)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is found
        return f"{type(error).__name__}: {error}", True
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def limit_memory() -> None:
    """From now on an allocation of more than 256 MiB beyond what there is fails."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "seeds", nargs="+", type=Path, help="object files to begin with"
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="where to put inputs that failed")
    options = parser.parse_args()
    objects = [path.read_bytes() for path in options.seeds]
    limit_memory()
    failed: dict[str, Finding] = {}
    types = types_of(objects)
    work = {"object": objects, "types": types, "kept": [kept(each) for each in types]}
    for target, seeds in work.items():
        share = options.seconds * (2 if target == "object" else 1) / 4
        tally = Tally()
        found = fuzz(target, seeds, seed=options.seed, seconds=share, tally=tally)
        for each in found:
            if failed.setdefault(each.error, each) is each:
                print(f"{target}: {each.error}")  # noqa: T201 - a program's output
                if options.keep:
                    name = f"{target}-{len(failed)}.bin"
                    (options.keep / name).write_bytes(each.data)
        print(f"{target}: {tally}")  # noqa: T201
    return 1 if failed else 0


def kept(types: bytes) -> bytes:
    """A seed of `read_kept`."""
    return len(types).to_bytes(4, "little") + types + Index.build(types).dump()


def types_of(objects: Sequence[bytes]) -> list[bytes]:
    """The .BTF of each object that has one."""
    files = [elf.decode(data) for data in objects]
    return [
        section.content
        for file in files
        for section in file.sections
        if section.name == ".BTF" and section.content
    ]


if __name__ == "__main__":
    sys.exit(main())
