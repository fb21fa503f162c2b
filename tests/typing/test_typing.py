"""mypy and pyright, both strict: examples pass, deliberate mistakes are found by line."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYRIGHT = ROOT / ".venv" / "pyright" / "node_modules" / "pyright" / "index.js"
NODE = shutil.which("node", path=f"{ROOT / '.venv' / 'bin'}:/usr/local/bin:/usr/bin")
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
MISTAKES = Path(__file__).with_name("mistakes.py")

pytestmark = pytest.mark.timeout(300)


def mypy(directory: Path) -> dict[str, dict[int, str]]:
    """What mypy --strict says, by file name and line."""
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "--no-pretty", str(directory)]
    command += ["--config-file", "", "--cache-dir", str(directory / ".cache")]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, check=False
    )
    found: dict[str, dict[int, str]] = {}
    for name, line, text in re.findall(r"([\w.]+\.py):(\d+): error: (.*)", done.stdout):
        found.setdefault(name, {})[int(line)] = text
    assert found or done.returncode == 0, done.stdout + done.stderr
    return found


def pyright(directory: Path) -> dict[str, dict[int, str]]:
    """What pyright says in strict mode, by file name and line."""
    if NODE is None or not PYRIGHT.exists():
        pytest.skip("pyright is not installed: scripts/bootstrap test installs it")
    (directory / "pyrightconfig.json").write_text(
        json.dumps(
            {
                "typeCheckingMode": "strict",
                "include": ["."],
                "pythonVersion": "3.11",
                "extraPaths": [str(ROOT)],
                # A mistake may be an expression alone on its line.
                "reportUnusedExpression": False,
            }
        )
    )
    command = [NODE, str(PYRIGHT), "-p", str(directory), "--outputjson"]
    command += ["--pythonpath", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found: dict[str, dict[int, str]] = {}
    for each in json.loads(done.stdout)["generalDiagnostics"]:
        if each["severity"] == "error":
            line = each["range"]["start"]["line"] + 1
            found.setdefault(Path(each["file"]).name, {})[line] = each["message"]
    return found


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_every_mistake_is_found_and_nothing_else(
    checker: Callable[[Path], dict[str, dict[int, str]]], tmp_path: Path
) -> None:
    source = MISTAKES.read_text()
    (tmp_path / MISTAKES.name).write_text(source)
    wrong = [n for n, text in enumerate(source.split("\n"), 1) if "# wrong" in text]

    found = checker(tmp_path).get(MISTAKES.name, {})

    assert len(wrong) > 50
    assert sorted(found) == wrong, found


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_the_examples_have_no_mistake(
    checker: Callable[[Path], dict[str, dict[int, str]]], tmp_path: Path
) -> None:
    for example in EXAMPLES:
        shutil.copy(example, tmp_path)

    assert checker(tmp_path) == {}
