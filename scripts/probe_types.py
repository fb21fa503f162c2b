"""Make data/kernels.txt and data/kfuncs.txt: what the BTF of kernels tells of each.

    python scripts/probe_types.py 6.1=FILE 6.12=FILE ...

Each FILE is a kernel's BTF: its /sys/kernel/btf/vmlinux, or the section .BTF of its
vmlinux; `beewire guest --kernel 5.10 -- cat /sys/kernel/btf/vmlinux >FILE` gets one.
What the two files already say of other kernels is kept.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from beewire.bpf.btf import DeclTag, Func, Index, Kind

sys.path.insert(0, str(Path(__file__).parent))
import gen_kinds

KERNELS = gen_kinds.ROOT / "data" / "kernels.txt"
KFUNCS = gen_kinds.KFUNCS
_SETS = "btf_kfunc_id_set"  # what lists them, in kernels that have any
KERNELS_HEAD = """\
# Which kinds the kernels have that Debian ships: kernel, enum, how many enumerators of
# data/kinds.txt its BTF lists, the last of them. By scripts/probe_types.py.
"""
KFUNCS_HEAD = """\
# Functions of the kernel that programs may call: name, and the oldest kernel of
# data/kernels.txt whose BTF has it; mainline may have it for longer. By
# scripts/probe_types.py: what the BTF of one of them marks with `bpf_kfunc`.
"""


def main() -> int:
    """Write both files."""
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    if not given:
        print(__doc__)
        return 2
    indexes = {
        release: Index.build(Path(path).read_bytes()) for release, path in given.items()
    }
    rows = {(row[0], row[1]): row for row in _rows(KERNELS)}
    for release, index in indexes.items():
        rows |= {(row[0], row[1]): row for row in enums(release, index)}
    _write(KERNELS, KERNELS_HEAD, sorted(rows.values(), key=_by_release))
    since = {row[0]: row[1] for row in _rows(KFUNCS)}
    names = {name for index in indexes.values() for name in kfuncs(index)} | set(since)
    for release in sorted(indexes, key=version, reverse=True):
        if not indexes[release].find(_SETS, Kind.STRUCT):
            continue  # functions, but none that programs may call
        here = {name for name in names if indexes[release].find(name, Kind.FUNC)}
        for name in here:
            since[name] = min(since.get(name, release), release, key=version)
    _write(KFUNCS, KFUNCS_HEAD, sorted([name, each] for name, each in since.items()))
    return 0


def enums(release: str, index: Index) -> Iterable[list[str]]:
    """How far each enum goes in one kernel."""
    known = {(fact.enum, fact.name) for fact in gen_kinds.facts()}
    for word, names in gen_kinds.enumerators(index).items():
        found = {name: n for name, n in names.items() if (word, name) in known}
        last = max(found, key=lambda name: found[name])
        yield [release, word, str(len(found)), last]


def kfuncs(index: Index) -> Iterable[str]:
    """What a kernel's BTF marks as kernel functions for programs."""
    for number in index.flavours("bpf_kfunc", (Kind.DECL_TAG,)):
        tag = index.type(number)
        if isinstance(tag, DeclTag) and isinstance(tag.to, Func):
            yield tag.to.name


def version(release: str) -> tuple[int, ...]:
    """A release, to be compared."""
    return tuple(int(part) for part in release.split("."))


def _by_release(row: list[str]) -> tuple[object, ...]:
    return version(row[0]), list(gen_kinds.ENUMS).index(row[1])


def _rows(path: Path) -> list[list[str]]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split("\t") for line in lines if not line.startswith("#")]


def _write(path: Path, head: str, rows: Iterable[list[str]]) -> None:
    path.write_text(head + "".join("\t".join(row) + "\n" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
