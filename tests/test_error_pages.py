"""Codes of refusals: each means one thing, is in use, and has a page whose examples hold."""

import linecache
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from beewire.bpf.author import collect
from beewire.errors import CompileError
from beewire.reasons import Reason

CHECKOUT = Path(__file__).parent.parent
PAGES = CHECKOUT / "docs" / "errors"
CODES = {
    name: value for name, value in vars(Reason).items() if not name.startswith("_")
}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)

FRAME = BLOCK.findall((PAGES / "index.md").read_text())[0][1].partition("@xdp")[0]
BODY = "@xdp\ndef program(ctx: XdpContext) -> XdpAction:\n"
END = "    return XdpAction.PASS\n"

Compile = Callable[[str], object]


@pytest.fixture
def compiled(request: pytest.FixtureRequest) -> Compile:
    """Compile an example of a page, in the frame that its index shows."""

    def compile_it(example: str) -> object:
        if "def program" not in example:
            inner = "".join(f"    {line}\n" for line in example.splitlines())
            example = BODY + inner + END
        source = FRAME + example
        name = f"<{request.node.name}>"
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        module = ModuleType(name)
        request.addfinalizer(lambda: sys.modules.pop(name, None))
        sys.modules[name] = module
        exec(compile(source, name, "exec"), vars(module))
        return collect(module.program)

    return compile_it


def shown(error: SyntaxError) -> str:
    """What a page shows of a refusal: line, caret, sentence with code, advice."""
    line = (error.text or "").rstrip("\n")
    start, end = (error.offset or 1) - 1, error.end_offset or 0
    indent = len(line) - len(line.lstrip())
    # Of Python's own errors the pages show the first column only.
    width = end - 1 - start if isinstance(error, CompileError) else 1
    told = [line.strip(), " " * (start - indent) + "^" * width, error.msg]
    return "\n".join([*told, *getattr(error, "__notes__", [])]) + "\n"


def test_no_code_means_two_things() -> None:
    assert len(set(CODES.values())) == len(CODES)


@pytest.mark.parametrize("name", CODES)
def test_every_code_is_in_use(name: str) -> None:
    sources = (CHECKOUT / "beewire").rglob("*.py")

    assert any(f"Reason.{name}" in source.read_text() for source in sources)


@pytest.mark.parametrize("code", sorted(CODES.values()))
def test_every_code_has_a_page_that_the_index_lists(code: str) -> None:
    title = (PAGES / f"{code}.md").read_text().partition("\n")[0]

    assert (
        f"| [{code}]({code}.md) | {title.removeprefix(f'# {code}: ')} |"
        in (PAGES / "index.md").read_text()
    )


def test_every_page_is_of_a_code() -> None:
    pages = {page.stem for page in PAGES.glob("BW*.md")}

    assert pages == set(CODES.values())


EXAMPLES = {
    page.stem: [text for _, text in BLOCK.findall(page.read_text())]
    for page in sorted(PAGES.glob("BW*.md"))
}


@pytest.mark.parametrize("code", [code for code, found in EXAMPLES.items() if found])
def test_a_pages_examples_hold(code: str, compiled: Compile) -> None:
    refused, message, accepted = EXAMPLES[code]

    with pytest.raises(SyntaxError) as caught:
        compiled(refused)

    assert shown(caught.value) == message
    assert compiled(accepted)
