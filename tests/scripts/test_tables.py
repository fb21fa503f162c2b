"""What is generated is what data/ makes, and data/ is what kernels say."""

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
VMLINUX = Path("/sys/kernel/btf/vmlinux")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )


def rows(name: str) -> list[list[str]]:
    lines = (CHECKOUT / "data" / name).read_text().splitlines()
    return [line.split("\t") for line in lines if not line.startswith("#")]


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


@pytest.mark.parametrize("script", ["gen_kinds.py", "gen_helpers.py"])
def test_the_generated_modules_are_what_the_facts_make(script: str) -> None:
    told = run(f"scripts/{script}", "--check")

    assert (told.returncode, told.stdout) == (0, "")


@pytest.mark.skipif(not VMLINUX.exists(), reason="the kernel tells no types")
def test_the_running_kernel_has_no_kind_that_the_facts_lack() -> None:
    told = run("scripts/gen_kinds.py", "--btf", str(VMLINUX))

    assert told.stdout == "the facts agree with the kernel\n"


@pytest.mark.parametrize(("kernel", "enum", "count", "last"), rows("kernels.txt"))
def test_since_when_agrees_with_what_each_kernel_has(
    kernel: str, enum: str, count: str, last: str
) -> None:
    facts = [row for row in rows("kinds.txt") if row[0] == enum]
    limit = next(int(row[2]) for row in facts if row[1] == last)

    there = [row for row in facts if int(row[2]) <= limit]

    assert len(there) == int(count)
    assert [row[1] for row in there if version(row[3]) > version(kernel)] == []
    later = [row for row in facts if row not in there]
    assert [row[1] for row in later if version(row[3]) <= version(kernel)] == []


def test_every_kernel_function_was_seen_in_one_of_the_kernels() -> None:
    kernels = {row[0] for row in rows("kernels.txt")}
    names = [name for name, _ in rows("kfuncs.txt")]

    assert {since for _, since in rows("kfuncs.txt")} <= kernels
    assert names == sorted(set(names))
    assert {"bpf_task_acquire", "bpf_iter_num_new"} <= set(names)
