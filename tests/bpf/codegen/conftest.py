"""What tests of the passes use: text in, text out."""

from collections.abc import Callable
from textwrap import dedent

import pytest

from beewire.bpf import ir
from beewire.bpf.codegen.work import Work
from beewire.bpf.object import Target

Pass = Callable[[Work], None]
Rewrite = Callable[..., str]


@pytest.fixture
def rewrite() -> Rewrite:
    """Run passes over IR text; gives the text of what they made, without its header."""

    def run(text: str, *passes: Pass, level: int = 3) -> str:
        function = ir.parse_function(f"function f(ctx: ptr)\n{dedent(text)}")
        work = Work(function, Target(level))
        for step in passes:
            step(work)
            ir.check(function)
        return ir.format_function(function).partition("\n")[2]

    return run


@pytest.fixture
def same() -> Callable[[str, str], bool]:
    """Compare IR texts by their lines, however they are indented."""

    def compare(made: str, wanted: str) -> bool:
        lines = [line.strip() for line in wanted.strip().splitlines()]
        assert [line.strip() for line in made.strip().splitlines()] == lines
        return True

    return compare
