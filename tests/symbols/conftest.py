"""Programs in C, compiled for the tests: with symbols, without, and with them elsewhere."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

SOURCE = """
#include <stdio.h>
#include <stdlib.h>

static int table[64];

__attribute__((noinline)) static int hidden_step(int n) { return table[n & 63] += n; }

__attribute__((noinline)) int visible_step(int n) { return hidden_step(n) * 3 + 1; }

int main(void)
{
    /* The addresses, for who asks; then wait until standard input ends. */
    printf("%p %p\\n", (void *)hidden_step, (void *)visible_step);
    fflush(stdout);
    volatile int sum = 0;
    int c;
    while ((c = getchar()) != EOF)
        sum += visible_step(c);
    return 0;
}
"""

Build = Callable[..., Path]


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def compiler() -> str:
    found = shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")
    if found is None:
        pytest.skip("no C compiler is installed")
    return found


@pytest.fixture
def build(tmp_path: Path, compiler: str) -> Build:
    """Compile SOURCE to `tmp_path/app`; keywords are further flags of the compiler."""

    def compile_it(*flags: str, source: str = SOURCE, name: str = "app") -> Path:
        text, program = tmp_path / f"{name}.c", tmp_path / name
        text.write_text(source)
        run(compiler, "-O1", "-g0", "-Wl,--build-id", *flags, "-o", program, text)
        return program

    return compile_it


@pytest.fixture
def tools() -> None:
    for tool in ("objcopy", "strip", "nm", "xz"):
        if shutil.which(tool) is None:
            pytest.skip("binutils or xz is not installed")
