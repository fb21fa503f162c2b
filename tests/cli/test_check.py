"""`beewire check FILE`."""

import json
from pathlib import Path

import pytest

from beewire.cli import main

GOOD = """
from beewire.bpf import HashMap, XdpAction, XdpContext, u32, u64, xdp

seen = HashMap[u32, u64](max_entries=16)

@xdp
def count(ctx: XdpContext) -> XdpAction:
    seen[1] += 1
    return XdpAction.PASS
"""
BAD = (
    GOOD
    + """
def shared(x: u32) -> u32:
    return x / 2

@xdp
def first(ctx: XdpContext) -> XdpAction:
    seen[1] = shared(7)
    return XdpAction.PASS

@xdp
def second(ctx: XdpContext) -> XdpAction:
    seen[2] = shared(7)
    missing(1)
    return XdpAction.PASS
"""
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "prog.py"


def test_what_compiles_is_listed(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source.write_text(GOOD)

    assert main(["check", str(source)]) == 0

    out, err = capsys.readouterr()
    assert out.startswith("count (xdp): ")
    assert out.endswith(" instructions\n")
    assert not err


def test_all_faults_of_all_programs_are_told_once(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source.write_text(BAD)

    assert main(["check", str(source)]) == 1

    out, err = capsys.readouterr()
    assert out.startswith("count (xdp): ")
    assert err.count("'/' makes a float [BW103]") == 1
    assert err.count("'missing' is not defined [BW110]") == 1


def test_faults_as_json(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source.write_text(BAD)

    assert main(["check", "--json", str(source)]) == 1

    told = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in told["programs"]] == ["count"]
    assert told["diagnostics"][0] == {
        "code": "BW103",
        "message": "'/' makes a float",
        "hint": "divide integers by //",
        "file": str(source),
        "line": 12,
        "column": 12,
        "end_line": 12,
        "end_column": 17,
    }


def test_a_file_that_is_no_python_is_a_diagnostic(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source.write_text("def f(:\n")

    assert main(["check", "--json", str(source)]) == 1

    [fault] = json.loads(capsys.readouterr().out)["diagnostics"]
    assert (fault["code"], fault["line"]) == ("BW100", 1)


def test_standard_input_is_compiled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import io  # noqa: PLC0415

    monkeypatch.setattr("sys.stdin", io.StringIO(BAD))

    assert main(["check", "-"]) == 1

    assert '  File "<stdin>", line 12\n    return x / 2\n' in capsys.readouterr().err


def test_two_maps_of_one_name_are_told(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source.write_text(
        GOOD + "seen_too = HashMap[u32, u64](max_entries=1, name='seen')\n"
        "@xdp\ndef other(ctx: XdpContext) -> XdpAction:\n"
        "    seen_too[1] += 1\n    return XdpAction.PASS\n"
    )

    assert main(["check", str(source)]) == 1

    assert "two maps are called 'seen'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("prog.py", "x = 1\n", "has no programs"),
        ("prog.py", "1 // 0\n", "ZeroDivisionError"),
        ("prog.txt", GOOD, "its name does not end in .py"),
        ("prog.ipynb", "{}", "its name does not end in .py"),
    ],
)
def test_a_file_without_programs_is_a_wrong_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, told: str
) -> None:
    (tmp_path / name).write_text(text)

    assert main(["check", str(tmp_path / name)]) == 2

    assert told in capsys.readouterr().err


def test_a_target_decides_what_can_be_compiled(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source.write_text(
        GOOD.replace("seen[1] += 1", "n = 3\n    while n != 1:\n        n = n * 3 + 1")
    )

    assert main(["check", str(source), "--target", "v3,may_goto"]) == 0
    assert main(["check", str(source), "--target", "v3,fetch"]) == 1

    assert "[BW183]" in capsys.readouterr().err


def test_an_unknown_target_is_told(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source.write_text(GOOD)

    with pytest.raises(SystemExit):
        main(["check", str(source), "--target", "v9"])

    assert "no instruction set v9" in capsys.readouterr().err
