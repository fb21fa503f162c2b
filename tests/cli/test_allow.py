"""`beewire allow FILE`."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from beewire.cli import main

ROOT = Path(__file__).parents[2]
EXAMPLE = str(ROOT / "examples" / "exec_time.py")
POLICY = """
audit = "none"

[[rule]]
name = "tracing"
decision = "allow"
types = ["tracepoint"]
helpers = ["get_*", "ktime_*", "map_*", "probe_read_*", "ringbuf_*"]
"""


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    return str(path)


@pytest.fixture
def example(tmp_path: Path) -> str:
    path = tmp_path / "exec_time.bpf.o"
    assert main(["build", EXAMPLE, "-o", str(path)]) == 0
    return str(path)


Captured = pytest.CaptureFixture[str]


def test_what_is_allowed_is_told_with_its_rule(
    policy: str, example: str, capsys: Captured
) -> None:
    code = main(["allow", "--policy", policy, "--user", "root", example])

    digest = hashlib.sha256(Path(example).read_bytes()).hexdigest()
    out = capsys.readouterr().out
    assert code == 0
    assert f"sha256:{digest}" in out
    assert (
        "  allowed  on_exec (tracepoint/sched/sched_process_exec, tracepoint): tracing"
    ) in out


def test_what_is_refused_is_told_with_what_it_lacks(
    policy: str, example: str, capsys: Captured
) -> None:
    Path(policy).write_text(POLICY.replace('"probe_read_*", ', ""))

    code = main(["allow", "--policy", policy, example])

    out = capsys.readouterr().out
    assert code == 1
    assert 'default = "deny"' in out
    assert "'tracing' does not hold: helper probe_read_kernel is not among" in out


def test_a_python_file_is_compiled(policy: str, capsys: Captured) -> None:
    code = main(["allow", "--policy", policy, EXAMPLE])

    assert code == 0
    assert "object exec_time: sha256:" in capsys.readouterr().out


def test_programs_read_the_decision_as_json(
    policy: str, example: str, capsys: Captured
) -> None:
    code = main(["allow", "--json", "--policy", policy, "--user", "12345", example])

    told = json.loads(capsys.readouterr().out)
    assert code == 0
    assert told["allowed"] is True
    assert told["user"] == "12345"
    assert told["policies"][0]["programs"][0]["rule"] == "tracing"
    assert "ringbuf" in told["programs"][1]["maps"]


def test_an_object_is_added(policy: str, example: str, capsys: Captured) -> None:
    Path(policy).write_text('audit = "none"\n')
    assert main(["allow", "--policy", policy, example]) == 1

    code = main(["allow", "--policy", policy, "--add", "as reviewed", example])

    assert code == 0
    assert "as reviewed" in capsys.readouterr().out
    assert main(["allow", "--policy", policy, EXAMPLE]) == 1  # for another kernel


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["/no/such.o"], "no such file"),
        (["/dev/null"], "/dev/null"),
        (["--user", "no-such-user", EXAMPLE], "no user 'no-such-user'"),
        (["--policy", "/no/such.toml", EXAMPLE], "/no/such.toml"),
        (["--sign", "/no/key.pem", EXAMPLE], "--signatures DIR"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(
    arguments: list[str], fault: str, capsys: Captured
) -> None:
    code = main(["allow", *arguments])

    assert code == 2
    assert fault in capsys.readouterr().err


@pytest.mark.kernel
def test_the_policy_of_a_machine_is_kept() -> None:
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("unshare (util-linux) is missing")
    # /etc of this process alone, with a policy that forbids everything.
    script = (
        "mount -t tmpfs bw-etc /etc && mkdir -m 755 /etc/beewire && "
        """echo 'audit = "/etc/loads.jsonl"' > /etc/beewire/policy.toml && """
        f'{sys.executable} -m beewire run --seconds 1 "$0"; echo "code $?"; '
        "cat /etc/loads.jsonl"
    )

    done = subprocess.run(
        [unshare, "--mount", "sh", "-c", script, EXAMPLE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    if "unshare failed" in done.stderr:
        pytest.skip("mount namespaces are switched off")
    assert "code 1" in done.stdout
    assert "the policy /etc/beewire/policy.toml does not let" in done.stderr
    assert '"decision":"deny"' in done.stdout
