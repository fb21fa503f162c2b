"""Every clang that there is, and the objects that it makes of the programs in c/."""

import importlib.util
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

HERE = Path(__file__).parent / "c"
SOURCES = sorted(path.stem for path in HERE.glob("*.c"))

# The one of the ziglang wheel is clang 22.
COMPILERS = ["clang-14", "clang-15", "clang-16", "clang-19", "ziglang"]

# What a compiler has no words for.
BEYOND = {
    "clang-14": ("arena",),
    "clang-15": ("arena",),
    "clang-16": ("arena",),
}


def command(compiler: str) -> list[str]:
    """How to run the compiler; skips the test where it is missing."""
    if compiler == "ziglang":
        if importlib.util.find_spec("ziglang") is None:
            pytest.skip("the ziglang wheel is not installed")
        return [sys.executable, "-m", "ziglang", "clang", "-idirafter", "/usr/include"]
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    return [compiler]


@cache
def built(
    compiler: str,
    cpu: str = "v3",
    debug: str = "-g",
    *,
    target: str = "bpfel",
    sources: tuple[str, ...] = tuple(SOURCES),
) -> dict[str, bytes]:
    """The programs as objects, by the name of their source."""
    if not Path("/usr/include/bpf/bpf_helpers.h").exists():
        pytest.skip("libbpf-dev is not installed")
    names = [name for name in sources if name not in BEYOND.get(compiler, ())]
    words = [f"--target={target}", "-O2", f"-mcpu={cpu}", "-Wno-everything"]
    with TemporaryDirectory() as directory:
        files = [str(HERE / f"{name}.c") for name in names]
        line = [*command(compiler), *words, debug, "-c", *files]
        subprocess.run(line, check=True, cwd=directory)
        return {name: Path(directory, f"{name}.o").read_bytes() for name in names}
