"""Do something dangerous in a process of its own, for a limited time."""

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, Final, NamedTuple, NoReturn

from beewire.mesh.qualify.stand import Counted, Finding, Impossible
from beewire.mesh.qualify.verdicts import Outcome

_LINE: Final = 1 << 16
_DIES_S: Final = 2.0


class Result(NamedTuple):
    """What became of it; `trace` is for whoever has to mend the battery."""

    outcome: Outcome
    says: str
    counted: Counted = Counted()
    trace: str = ""
    seconds: float = 0.0


class Line:
    """The child's line to its parent."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def step(self, text: str) -> None:
        """Say what is done next."""
        self.tell({"step": text})

    def ask(self, what: str) -> None:
        """Let the parent do something, and wait until it has."""
        self.tell({"ask": what})
        self._sock.recv(1)

    def tell(self, message: dict[str, Any]) -> None:
        """Send one message."""
        self._sock.send(json.dumps(message).encode())


Act = Callable[[Line], tuple[Callable[[], str], Callable[[], Counted]]]
"""Given the line, what to do, which returns a sentence; and what was counted meanwhile."""


def run(
    act: Act,
    *,
    limit_s: float,
    serve: Callable[[str], None],
) -> Result:
    """What comes of `act` in a child that is killed after `limit_s`.

    A hang is a finding, which names the last step. `serve` does, in this process, what the
    child asks for.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sys.stdout.flush()
    with ours:
        child = os.fork()
        if child == 0:
            ours.close()
            _live(Line(theirs), act)
        theirs.close()
        began = time.monotonic()
        try:
            result = _follow(ours, began + limit_s, limit_s, serve)
            return result._replace(seconds=time.monotonic() - began)
        finally:
            _end(child)


def _follow(
    line: socket.socket, deadline: float, limit_s: float, serve: Callable[[str], None]
) -> Result:
    step = "the first step"
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([line], [], [], left)[0]:
            return Result(Outcome.FAIL, f"it hangs: after {limit_s:g} s, at: {step}")
        data = line.recv(_LINE)
        if not data:
            return Result(Outcome.FAIL, f"its process died, at: {step}")
        told = json.loads(data)
        if "step" in told:
            step = told["step"]
        elif "ask" in told:
            serve(told["ask"])
            line.send(b"!")
        else:
            counted = Counted(*told["counted"])
            outcome = Outcome(told["outcome"])
            return Result(outcome, told["says"], counted, told["trace"])


def _live(line: Line, act: Act) -> NoReturn:
    # The child's whole life. Whatever it starts is in its process group, and ends with it.
    try:
        os.setpgid(0, 0)
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, signal.SIG_DFL)
        meet, counted = act(line)
        result = _outcome(meet)
        line.tell({**result._asdict(), "counted": counted()})
    finally:
        os._exit(0)


def _outcome(meet: Callable[[], str]) -> Result:
    try:
        return Result(Outcome.PASS, meet())
    except Finding as found:
        return Result(Outcome.FAIL, str(found), trace=traceback.format_exc())
    except Impossible as missing:
        return Result(Outcome.NULL, str(missing))
    except Exception as error:  # noqa: BLE001 - whatever it is, it was not to be
        says = f"a call failed that should not: {str(error) or type(error).__name__}"
        return Result(Outcome.FAIL, says, trace=traceback.format_exc())


def _end(child: int) -> None:
    for group in (True, False):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            (os.killpg if group else os.kill)(child, signal.SIGKILL)
    deadline = time.monotonic() + _DIES_S
    # What hangs in the kernel does not even die: it is left to init.
    while os.waitpid(child, os.WNOHANG)[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.002)
