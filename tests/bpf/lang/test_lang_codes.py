"""The code of every refusal in the corpus of wrong programs: refused_codes.txt.

`python tests/bpf/lang/test_lang_codes.py` writes the file anew: read what changed.
"""

from pathlib import Path

from beewire.bpf.lang import compile_program
from beewire.errors import CompileError, Diagnostic
from tests.bpf.lang.conftest import run
from tests.bpf.lang.refused_calls import CALLS, MAPS
from tests.bpf.lang.refused_data import DATA, DECLARATIONS
from tests.bpf.lang.refused_statements import INTEGERS, REFERENCES, STATEMENTS
from tests.bpf.lang.test_lang_refusals import WHOLE, xdp

GOLDEN = Path(__file__).with_name("refused_codes.txt")


def corpus() -> dict[str, str]:
    """Every wrong program of the corpus, by its name."""
    bodies = {**STATEMENTS, **INTEGERS, **REFERENCES, **MAPS, **CALLS}
    found = {name: xdp(case[0]) for name, case in bodies.items()}
    ports = "ports = Ports()\n"
    found |= {n: DECLARATIONS + xdp(ports + case[0]) for n, case in DATA.items()}
    return found | {name: case[0] for name, case in WHOLE.items()}


def fault_of(source: str) -> Diagnostic | None:
    """The first fault; None when nothing is refused."""
    try:
        compile_program(run(source.replace("«", "").replace("»", ""))["program"])
    except CompileError as error:
        return error.diagnostics[0]
    return None


def code_of(source: str) -> str:
    """The code of the first fault; "" when nothing is refused."""
    fault = fault_of(source)
    return "" if fault is None else fault.code


def listing() -> str:
    """A line for each: code and name."""
    return "".join(f"{code_of(text)} {name}\n" for name, text in corpus().items())


def test_every_wrong_program_has_its_code() -> None:
    assert listing() == GOLDEN.read_text()


def test_every_wrong_program_is_told_what_to_write_instead() -> None:
    faults = {name: fault_of(text) for name, text in corpus().items()}

    assert [name for name, fault in faults.items() if not (fault and fault.hint)] == []


def test_the_corpus_has_at_least_80_wrong_programs() -> None:
    assert len(corpus()) >= 80


if __name__ == "__main__":
    GOLDEN.write_text(listing())
