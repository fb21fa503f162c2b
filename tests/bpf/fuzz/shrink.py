"""A shorter program with the same fault: lines are left out as long as it stays."""

import ast
from collections.abc import Iterator

from tests.bpf.fuzz.program import Source
from tests.bpf.fuzz.trial import Outcome, try_

PATIENCE = 400  # trials


def shrink(source: Source, outcome: Outcome) -> Source:
    """The shortest program found that has the fault of `outcome`."""
    left = [PATIENCE]

    def fails(text: str) -> bool:
        left[0] -= 1
        try:
            again = try_(source._replace(text=text), with_llvm=_is_of_llvm(outcome))
        except Exception:  # noqa: BLE001 - a program that is none
            return False
        return again.fault == outcome.fault and _code(again) == _code(outcome)

    text = source.text
    progress = True
    while progress and left[0] > 0:
        progress = False
        for shorter in _shorter(text):
            if left[0] <= 0:
                break
            if fails(shorter):
                text, progress = shorter, True
                break
    return source._replace(text=text)


def _code(outcome: Outcome) -> str:
    """The stable code of what the compiler refused."""
    return outcome.detail.rpartition("[BW")[2][:3] if "[BW" in outcome.detail else ""


def _is_of_llvm(outcome: Outcome) -> bool:
    return outcome.fault.startswith("LLVM")


def _shorter(text: str) -> Iterator[str]:
    """The program without one of its statements, big ones first; or a block's body."""
    tree = ast.parse(text)
    blocks = list(_blocks(tree))
    sizes = [
        (_size(statement), block, statement) for block in blocks for statement in block
    ]
    for _, block, statement in sorted(sizes, key=lambda item: -item[0]):
        at = block.index(statement)
        for instead in ([], *_bodies(statement)):
            if not instead and len(block) == 1:
                continue
            block[at : at + 1] = instead
            yield ast.unparse(tree)
            block[at : at + len(instead)] = [statement]


def _blocks(tree: ast.AST) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(tree):
        for name in ("body", "orelse"):
            block = getattr(node, name, None)
            if isinstance(block, list) and block:
                yield block


def _bodies(statement: ast.stmt) -> list[list[ast.stmt]]:
    """What may stand in the place of a statement: its blocks."""
    found = [getattr(statement, name, None) for name in ("body", "orelse")]
    return [list(block) for block in found if isinstance(block, list) and block]


def _size(statement: ast.stmt) -> int:
    return sum(1 for _ in ast.walk(statement))
