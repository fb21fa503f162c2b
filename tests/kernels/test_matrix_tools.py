"""What `make test-kernels` makes of what guests tell; no guest is started here."""

import json
from pathlib import Path

import pytest

from beewire.errors import (
    CompileError,
    Diagnostic,
    KernelError,
    NotSupported,
    VerifierError,
)
from tests.kernels import expected, page
from tests.kernels.kept import as_json, together
from tests.kernels.lacking import lacking
from tests.kernels.matrix import PATHS, QUICK, Run, command
from tests.kernels.results import PREFIX, read
from tests.kernels.table import as_markdown, as_text, table

FILE = "tests/bpf/kernel/test_kernel_maps.py"


def told(*records: dict[str, object]) -> list[str]:
    return [f"{PREFIX}{json.dumps(record)}\n" for record in records]


def result_of(name: str, outcome: str, reason: str = "") -> dict[str, object]:
    return {
        "test": f"{FILE}::{name}",
        "outcome": outcome,
        "reason": reason,
        "seconds": 0.5,
    }


END: dict[str, object] = {"end": 0}


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(expected, "LISTS", tmp_path)
    expected.write(tmp_path / "6.1.txt", "6.1", [])
    return tmp_path


def run_of(*records: dict[str, object], kernel: str = "6.1") -> Run:
    return Run(kernel, f"{kernel}.0-56-cloud-amd64", read(told(*records)))


def test_results_are_read_between_other_output() -> None:
    lines = ["pytest says\n", *told(result_of("test_a", "passed"), END), "\n"]

    results = read(lines)

    assert [test.function for test in results.tests] == [f"{FILE}::test_a"]
    assert results.is_complete
    assert results.other == ["pytest says"]


def test_tests_are_counted_by_what_they_test() -> None:
    results = read(
        told(result_of("test_a[1]", "passed"), result_of("test_a[2]", "failed"))
    )

    assert results.counts("kernel maps") == {"passed": 1, "failed": 1}
    assert results.counts("author maps") == {}


def test_skips_of_a_test_are_one_whatever_its_parameters() -> None:
    results = read(
        told(*(result_of(f"test_a[{i}]", "skipped", "no arenas") for i in "12"))
    )

    assert results.skips == {(f"{FILE}::test_a", "no arenas")}


def test_a_list_is_read_as_it_was_written(tmp_path: Path) -> None:
    skips = {
        ("a.py::test_b", "no x"),
        ("a.py::test_c", "no x"),
        ("b.py::test_d", "no y"),
    }

    expected.write(tmp_path / "6.1.txt", "6.1", skips)

    assert expected.read(tmp_path / "6.1.txt") == skips


def test_there_are_no_skips_where_there_is_no_list(tmp_path: Path) -> None:
    assert expected.read(tmp_path / "none.txt") == set()


def test_a_skip_that_is_not_listed_is_a_fault(lists: Path) -> None:
    run = run_of(result_of("test_a", "skipped", "no arenas"), END)

    [fault] = run.faults()

    assert fault.endswith("test_a is skipped, which 6.1.txt does not list: no arenas")
    assert lists.exists()


def test_a_kernel_without_a_list_is_a_fault(lists: Path) -> None:
    (lists / "6.1.txt").unlink()

    [fault] = run_of(result_of("test_a", "skipped", "no arenas"), END).faults()

    assert fault.startswith("there is no list of its skips yet: make test-kernels")


def test_a_list_says_nothing_of_tests_that_did_not_run(lists: Path) -> None:
    listed = {(f"{FILE}::test_a", "no arenas"), (f"{FILE}::test_b", "no locks")}
    expected.write(lists / "6.1.txt", "6.1", listed)

    run = run_of(result_of("test_a", "passed"), result_of("test_c", "passed"), END)

    assert run.difference().not_skipped == [(f"{FILE}::test_a", "no arenas")]
    assert run.skips() == {(f"{FILE}::test_b", "no locks")}


def test_a_skip_for_another_reason_than_listed_is_a_fault(lists: Path) -> None:
    listed = {(f"{FILE}::test_a", "no arenas")}
    expected.write(lists / "6.1.txt", "6.1", listed)

    run = run_of(result_of("test_a", "skipped", "no locks"), END)

    assert len(run.faults()) == 1
    assert run.difference().not_skipped == [*listed]


def test_listed_skips_are_no_faults(lists: Path) -> None:
    expected.write(lists / "6.1.txt", "6.1", {(f"{FILE}::test_a", "of two lines")})

    run = run_of(result_of("test_a[3]", "skipped", "of two\nlines"), END)

    assert run.faults() == []


def test_a_failure_is_a_fault_and_so_is_an_end_that_did_not_come(lists: Path) -> None:
    run = run_of(result_of("test_a", "failed", "assert 1 == 2"))

    failed, ended = run.faults()

    assert failed == f"{FILE}::test_a\nassert 1 == 2"
    assert ended.startswith("pytest did not end")
    assert lists.exists()


def test_the_table_shows_what_differs() -> None:
    features = {"map type A": True, "map type B": False, "map type C": True}
    old = run_of(
        {"features": features | {"map type C": False}},
        result_of("test_a", "skipped", "no arenas"),
        result_of("test_b", "passed"),
        kernel="5.10",
    )
    new = run_of({"features": features}, result_of("test_a", "passed"), kernel="6.12")

    made = table({"5.10": old, "6.12": new})

    assert made.kernels == ("5.10", "6.12")
    assert [(row.name, row.cells) for row in made.tests] == [
        ("all tests", ("1 (1)", "1")),
        ("kernel maps", ("1 (1)", "1")),
    ]
    assert [(row.name, row.cells) for row in made.abilities] == [
        ("map type C", ("-", "yes"))
    ]
    assert (made.everywhere, made.nowhere) == (1, 1)


def test_the_table_can_be_read_on_a_terminal_and_in_a_page() -> None:
    run = run_of({"features": {"x": True}}, result_of("test_a", "failed", "no"), END)
    made = table({"6.1": run})

    assert "0 1 FAILED" in as_text(made)
    assert "| kernel maps | 0 1 FAILED |" in as_markdown(made)


def test_runs_that_were_kept_are_put_together(tmp_path: Path) -> None:
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    one = run_of(
        {"features": {"x": True}},
        result_of("test_a", "failed", "assert 1 == 2"),
        result_of("test_b", "passed"),
        END,
    )
    two = run_of({"features": {"x": True}}, result_of("test_a", "passed"), END)
    files[0].write_text(as_json({"6.1": one, "5.10": one}))
    files[1].write_text(as_json({"6.1": two}))

    runs = together(files)

    assert runs["6.1"].results.counts() == {"passed": 2}
    assert runs["5.10"].results == one.results
    assert runs["6.1"].results.is_complete


def test_the_newest_kernel_is_shown_with_its_version() -> None:
    run = Run("newest", "7.3.4+deb13-cloud-amd64")

    assert table({"newest": run}).kernels == ("newest (7.3.4)",)


def test_the_table_replaces_itself_in_a_page(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text("# Page\n\nbefore\n")

    page.rewrite(file, "one")
    page.rewrite(file, "two")

    assert file.read_text().count(page.BEGIN) == 1
    assert "two" in file.read_text()
    assert "one" not in file.read_text()
    assert file.read_text().startswith("# Page\n\nbefore\n")


def test_pytest_runs_the_given_paths_or_the_usual_ones() -> None:
    usual, named = command("6.1", []), command("6.1", [FILE])

    assert usual[-len(PATHS) :] == list(PATHS)
    assert any(each.endswith(QUICK) for each in usual)
    assert named[-1] == FILE
    assert not any(each.endswith(QUICK) for each in named)


def test_all_of_them_run_when_asked_for() -> None:
    words = command("6.1", [], thorough=True)

    assert words[-len(PATHS) :] == list(PATHS)
    assert not any(each.endswith(QUICK) for each in words)


FAULT = Diagnostic("BW192", "this kernel has none", filename="a.py", line=1, column=1)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NotSupported(95, "arenas", "6.9"), "this kernel does not support arenas"),
        (CompileError((FAULT,)), "this kernel has none"),
        (
            VerifierError(22, "refused at a.py:3: this kernel has no helper x", log=""),
            "this kernel has no helper x",
        ),
        (
            KernelError(
                22, "PROG_LOAD", "cannot load: this kernel does not know its type"
            ),
            "this kernel does not know its type",
        ),
        (VerifierError(13, "the kernel refused program 'a'", log=""), ""),
        (AssertionError("this kernel has no helper x"), ""),
    ],
)
def test_what_the_kernel_lacks_is_no_failure(error: Exception, reason: str) -> None:
    assert lacking(error).startswith(reason)
    assert bool(lacking(error)) == bool(reason)
