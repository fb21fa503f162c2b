"""Each rule of the short path, broken: a test of its behaviour has to fail.

A copy of the package has one line changed, and a module of tests is run against it in a
process of its own.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = [pytest.mark.mesh, pytest.mark.thorough]

CHECKOUT = Path(__file__).parents[3]
PROGRAMS = Path("beewire", "mesh", "programs", "bypass")


class Mutant(NamedTuple):
    """A piece of a program, what stands there instead, and the tests that see it."""

    file: str
    piece: str
    instead: str
    tests: str  # test_bypass_....py


MUTANTS = {
    "bytes that TCP carries are not waited for": Mutant(
        "message.py", "not has_read(flow.address, written)", "False", "order"
    ),
    "bytes that have come count as read": Mutant(
        "sockets.py",
        "    if tcp.copied_seq != seq or tcp.rcv_nxt != seq:\n        return False\n"
        "    return kernel_ptr(address, sock).sk_receive_queue.qlen == 0",
        "    return tcp.rcv_nxt == seq",
        "order",
    ),
    "an empty queue counts as all read": Mutant(
        "sockets.py",
        "    if tcp.copied_seq != seq or tcp.rcv_nxt != seq:\n        return False\n",
        "    if tcp.copied_seq != tcp.rcv_nxt:\n        return False\n",
        "order",
    ),
    "the short mode is not left": Mutant(
        "message.py",
        "flow.mode == Mode.SHORT and",
        "flow.short_messages > 0 or",
        "order",
    ),
    "nothing is too much": Mutant(
        "message.py", "waiting >= bound.value", "False", "order"
    ),
    "a last word is followed by others": Mutant(
        "sockets.py", "sk_shutdown & SEND_SHUTDOWN != 0", "sk_shutdown == 77", "order"
    ),
    "a socket that has gone is written to": Mutant(
        "message.py",
        "        return by_tcp(flow, ctx.size, Why.GONE)\n    return shortly",
        "        return SkAction.SK_DROP\n    return shortly",
        "order",
    ),
    "the switch is not looked at": Mutant(
        "message.py", "is_off(flow.pod) or is_set(flow.peer_pod)", "False", "switch"
    ),
    "the far end's switch is not looked at": Mutant(
        "message.py",
        "is_off(flow.pod) or is_set(flow.peer_pod)",
        "is_off(flow.pod)",
        "switch",
    ),
    "who is sent much does not part": Mutant(
        "message.py",
        "Why.BULK if parts(flow, size, waiting) else Why.NOTHING",
        "Why.NOTHING",
        "bulk",
    ),
    "who has parted stays in the map": Mutant(
        "parting.py", "    peers.delete(flow.peer)", "    pass", "bulk"
    ),
    "who has not read yet parts": Mutant(
        "parting.py", "is_empty(flow.address)", "True", "bulk"
    ),
    "who has missed an edge is not told again": Mutant(
        "waking.py", "            tell(ctx, flow)", "            pass", "waking"
    ),
    "who has missed an edge stays in the map": Mutant(
        "waking.py", "        peers.delete(flow.own)", "        pass", "waking"
    ),
    "keepalives stay": Mutant(
        "waking.py", "        end(ctx, sk, found)", "        pass", "waking"
    ),
    "a greeting is anybody's with its name": Mutant(
        "joining.py", "or not is_same(greeting, ctx)", "", "strangers"
    ),
    "a greeting outlives its socket": Mutant(
        "leaving.py", "        del greetings[own]", "        return", "entries"
    ),
    "applications may wait": Mutant(
        "sockets.py",
        "f_flags & O_NONBLOCK != 0",
        "f_flags != 0o777777777",
        "left_alone",
    ),
    "what lies above TCP is not looked at": Mutant(
        "joining.py",
        "    if is_mptcp(address):\n        return Why.MPTCP\n"
        "    if has_ulp(address):\n        return Why.ULP\n",
        "",
        "left_alone",
    ),
    "short connections are joined": Mutant(
        "admission.py",
        "habit.messages >= pays.value",
        "habit.messages >= 0",
        "admission",
    ),
    "nothing is learnt from what stays on TCP": Mutant(
        "joining.py", "watch(ctx, SockOpsFlag.RTT_CB)", "pass", "admission"
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
@pytest.mark.timeout(600)
def test_a_broken_rule_is_seen(name: str, tmp_path: Path) -> None:
    mutant = MUTANTS[name]
    shutil.copytree(
        CHECKOUT / "beewire",
        tmp_path / "beewire",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copytree(
        CHECKOUT / "tests",
        tmp_path / "tests",
        ignore=shutil.ignore_patterns("__pycache__", "vectors"),
    )
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    source = tmp_path / PROGRAMS / mutant.file
    text = source.read_text()
    assert mutant.piece in text
    source.write_text(text.replace(mutant.piece, mutant.instead))

    tests = f"tests/mesh/bypass/test_bypass_{mutant.tests}.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "--timeout=60", tests],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(tmp_path),
            "BEEWIRE_TEST_PATIENCE": "5",
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1, done.stdout
    assert "CompileError" not in done.stdout
    assert "VerifierError" not in done.stdout
