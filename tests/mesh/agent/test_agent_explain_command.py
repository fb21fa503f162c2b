"""`beewire mesh explain` and `why-not` as a person types them."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

from beewire.mesh.agent import Directories, Mesh
from beewire.mesh.lab import Lab
from tests.mesh.agent.conftest import target

pytestmark = pytest.mark.mesh

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def explain(
    lab: Lab, mesh: Mesh, directories: Directories, beewire: Command
) -> Iterator[Command]:
    """`beewire mesh ...` on a node where pod A is enrolled."""
    mesh.up(target(lab.a)._replace(sidecar_later=True))
    where = {
        "BEEWIRE_PINS": str(directories.pins),
        "BEEWIRE_RUN": str(directories.run),
    }
    yield lambda *words: beewire("mesh", *words, **where)
    mesh.down("a")


def test_options_may_stand_behind_the_flow(explain: Command) -> None:
    flow = ("tcp", "10.77.1.2:1234", "->", "10.96.0.10:80")
    before = explain("explain", "--pod", "a", "--uid", "1337", "--json", *flow)
    behind = explain("explain", *flow, "--pod", "a", "--uid", "1337", "--json")

    assert before.returncode == behind.returncode == 0, before.stderr + behind.stderr
    assert before.stdout == behind.stdout
    (told,) = json.loads(before.stdout)
    assert told["rule"] == "OUT_ALL_RANGES"
    assert told["live"] is False


def test_text_says_what_json_says(explain: Command) -> None:
    words = ("explain", "--pod", "a", "10.96.0.10:80")
    (told,) = json.loads(explain(*words, "--json").stdout)
    text = explain(*words).stdout

    assert told["origin"] in text
    assert all(step["did"] in text for step in told["steps"])


def test_a_live_connection_is_explained(explain: Command, lab: Lab) -> None:
    with (
        lab.a.proxy.listen("0.0.0.0", 15001),
        lab.a.app.connect("10.96.0.10", 80) as sock,
    ):
        told = explain("explain", "--live", f"{os.getpid()}/{sock.fileno()}")

    assert told.returncode == 0, told.stderr
    assert "as the programs kept it" in told.stdout
    assert "10.96.0.10:80 -> 127.65." in told.stdout


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--pod", "a", "tcp", "10.77.1.2:1", "-"), 2, "quote it, or write `to`"),
        (("10.77.1.2:1 -> 10.0.0.1:2",), 2, "--pod says in which pod"),
        (("--pod", "a"), 2, "which connection?"),
        (("--pod", "z", "10.0.0.1:2"), 1, "no pod is called 'z'"),
        (("--pod", "a", "1.1.1.1:1 -> 2.2.2.2:2"), 2, "its own are 10.77.1.2"),
        (("--live", "1", "--uid", "3"), 2, "--uid is for connections that might be"),
        (("--pod", "a", "10.0.0.1:2", "--udp"), 2, "--udp is no option"),
        (("--live", "999999"), 1, "process 999999 is no socket"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    explain: Command, words: tuple[str, ...], code: int, told: str
) -> None:
    done = explain("explain", *words)

    assert done.returncode == code
    assert told in done.stderr
    assert done.stderr.startswith("beewire: ")


def test_nothing_past_the_sidecar_is_told_too(explain: Command) -> None:
    done = explain("why-not", "a")

    assert done.returncode == 0
    assert done.stdout == "nothing of pod a goes past its sidecar\n"
    assert explain("why-not", "a", "--json").stdout == "[]\n"
    assert explain("why-not", "z").returncode == 1
