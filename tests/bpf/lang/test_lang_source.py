"""Where sources come from: files, cells, archives; and what is said when there is none."""

import importlib.util
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from beewire.bpf.lang import evaluate
from beewire.errors import CompileError

TEXT = (
    "from beewire.bpf.lang import u32\ndef double(n: u32) -> u32:\n    return n * 2\n"
)


def module_of(path: Path, text: str) -> ModuleType:
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_function_of_a_file_is_found(tmp_path: Path) -> None:
    module = module_of(tmp_path / "plain.py", TEXT)

    assert evaluate(module.double, 21) == 42


def test_function_under_a_decorator_is_found(tmp_path: Path) -> None:
    text = TEXT.replace("def double", "def same(f):\n    return f\n@same\ndef double")
    module = module_of(tmp_path / "decorated.py", text)

    assert evaluate(module.double, 21) == 42


def test_functions_of_one_name_are_told_apart(tmp_path: Path) -> None:
    first = TEXT.replace("double", "f")
    text = f"{first}one = f\n{first.replace('* 2', '* 3')}two = f\n"
    module = module_of(tmp_path / "twice.py", text)

    assert (evaluate(module.one, 1), evaluate(module.two, 1)) == (2, 3)


def test_function_inside_another_is_found(tmp_path: Path) -> None:
    text = (
        "from beewire.bpf.lang import u32\n"
        "def make(factor):\n"
        "    def times(n: u32) -> u32:\n"
        "        return n * factor\n"
        "    return times\n"
    )
    module = module_of(tmp_path / "closure.py", text)

    assert evaluate(module.make(5), 4) == 20


def test_file_in_latin_1_is_read(tmp_path: Path) -> None:
    path = tmp_path / "latin.py"
    path.write_bytes(b"# -*- coding: latin-1 -*-\n# \xe4\n" + TEXT.encode())
    spec = importlib.util.spec_from_file_location("latin", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    assert evaluate(module.double, 2) == 4


def test_module_in_an_archive_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "programs.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("zipped_programs.py", TEXT)
    monkeypatch.syspath_prepend(str(archive))
    monkeypatch.delitem(sys.modules, "zipped_programs", raising=False)
    module = importlib.import_module("zipped_programs")

    assert evaluate(module.double, 3) == 6


def test_lines_are_those_that_python_counts(tmp_path: Path) -> None:
    text = TEXT + (
        "\x0c\nNAME = 'a\u2028b'\n\n\ndef half(n: u32) -> u32:\n    return n / 2\n"
    )
    module = module_of(tmp_path / "pages.py", text)

    with pytest.raises(CompileError) as caught:
        evaluate(module.half, 2)

    assert caught.value.text == "    return n / 2\n"


def test_file_that_changed_since_its_import_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "changed.py"
    module = module_of(path, TEXT)
    path.write_text("\n\n\n" + TEXT, encoding="utf-8")

    with pytest.raises(CompileError, match="is not where it was when it was imported"):
        evaluate(module.double, 1)


def test_function_without_source_is_refused() -> None:
    names: dict[str, object] = {}
    exec(compile(TEXT, "<typed in>", "exec"), names)
    double = names["double"]
    assert callable(double)

    with pytest.raises(CompileError, match="the source of 'double' cannot be found"):
        evaluate(double, 1)


def test_lambda_is_refused() -> None:
    with pytest.raises(CompileError, match="the source of '<lambda>' is not where"):
        evaluate(lambda: 1)
