"""The programs that exist in Python and in C: where both sources are, and both compiled.

The corpus (benchmarks/corpus) and a data path (benchmarks/datapath) are NAME.py beside
NAME.bpf.c. Programs are paired by their names.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from beewire.bpf import object as bpf_object
from beewire.bpf.author import collect
from beewire.bpf.kernel import running
from beewire.bpf.object import FEATURES, ObjectSpec, Target
from beewire.errors import UsageError

HERE = Path(__file__).parent
CHECKOUT = HERE.parent
CORPUS = HERE / "corpus"
DATAPATH = HERE / "datapath"
CLANGS = ["clang-19", *(f"clang-{n}" for n in range(25, 13, -1) if n != 19), "clang"]
FLAGS = ("-O2", "-g", "--target=bpf", "-mcpu=v3", "-Wall", "-Werror")

# Hashes, checksums, arithmetic, conversions of text: most of what they do is compute.
HEAVY = frozenset(
    (
        "base64", "bits", "bloom", "chacha", "checksum_full", "count_min",
        "crc32_bitwise", "crc32_table", "decimal", "dotted_quad", "fixed_point", "fnv1a",
        "jhash", "median", "murmur128", "murmur3", "siphash", "statistics", "syn_proxy",
        "toeplitz", "xxhash32", "xxhash64",
    )
)  # fmt: skip


class Twins(NamedTuple):
    """One module in both languages; paths are relative to the checkout."""

    name: str
    module: str
    python: Path
    c: Path

    @property
    def heavy(self) -> bool:
        """Whether its programs are arithmetic-heavy."""
        return self.name in HEAVY

    def ours(self) -> ObjectSpec:
        """What our compiler makes of it."""
        if str(HERE) not in sys.path:
            sys.path.insert(0, str(HERE))
        # The instructions of clang's -mcpu=v3, and loops as this kernel bounds them.
        here = [name for name in FEATURES if running().has(name)]
        return collect(import_module(self.module), target=Target(3, here))

    def theirs(self, clang: str) -> ObjectSpec:
        """What clang makes of it."""
        return bpf_object.read(compile_c(clang, CHECKOUT / self.c))


def twins() -> Iterator[Twins]:
    """All of them: the corpus, then the data path."""
    for folder in (CORPUS, DATAPATH):
        for c in sorted(folder.glob("*.bpf.c")):
            name = c.name.partition(".")[0]
            yield Twins(
                name,
                f"{folder.name}.{name}",
                (folder / f"{name}.py").relative_to(CHECKOUT),
                c.relative_to(CHECKOUT),
            )


def find_clang() -> str:
    """clang 19, or the newest on the path.

    Raises:
        UsageError: There is none.
    """
    for name in CLANGS:
        if found := shutil.which(name):
            return found
    raise UsageError("clang is not installed; codesize compares with it")


def version(clang: str) -> str:
    """As "clang 19.1.7"."""
    command = [clang, "-dumpversion"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return f"clang {result.stdout.strip()}"


def compile_c(clang: str, source: Path) -> bytes:
    """The object that clang makes of `source`."""
    # Where Debian keeps asm/types.h, which clang does not look through for BPF.
    include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
    with tempfile.TemporaryDirectory(prefix="bw-codesize-") as directory:
        target = Path(directory) / "twin.o"
        command = [clang, *FLAGS, include, "-c", str(source), "-o", str(target)]
        subprocess.run(command, check=True)
        return target.read_bytes()
