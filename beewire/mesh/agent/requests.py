"""What may be asked: every request by name, its arguments, and what is done for it.

The agent answers them over its socket; a command on a node without agent does the same
by itself. Arguments and results are JSON's own types.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from beewire.mesh.agent import switching
from beewire.mesh.agent.directories import Directories
from beewire.mesh.agent.operations import Log, Operations
from beewire.mesh.agent.protocol import Field, Json, ProtocolError, Request, fields
from beewire.mesh.agent.qualifying import Qualifying
from beewire.mesh.agent.straightening import Straightening
from beewire.mesh.agent.target import Attachment, Target
from beewire.mesh.agent.tending import Tending
from beewire.mesh.shadow import ENOUGH

_TEXT = Field(str, "")
_NO = Field(bool, False)
_POD = {"pod": Field(str)}
_ATTACHMENT = {"sandbox": Field(str), "interface": Field(str)}


class _Known(NamedTuple):
    takes: dict[str, Field]
    does: Callable[[Operations, Json], Any]


def _texts(values: list[object], name: str) -> tuple[str, ...]:
    for value in values:
        if not isinstance(value, str):
            raise ProtocolError(f"{name!r} is a list of texts")
    return tuple(map(str, values))


def _up(pods: Operations, given: Json) -> Json:
    given["addresses"] = _texts(given["addresses"], "addresses")
    return pods.up(Target(**given)).to_json()


def _collect(pods: Operations, given: Json) -> list[str]:
    valid: set[tuple[str, str]] = set()
    for each in given["valid"]:
        if not isinstance(each, list) or len(each) != 2:
            raise ProtocolError("'valid' is a list of pairs: sandbox and interface")
        sandbox, interface = _texts(each, "valid")
        valid.add((sandbox, interface))
    return pods.collect_garbage(given["network"], valid)


READING = ("hello", "list", "status", "compared", "check")  # these change nothing
_KNOWN: dict[str, _Known] = {
    "hello": _Known({}, lambda pods, _: pods.hello()),
    "up": _Known(
        {
            "name": _TEXT,
            "pod": _TEXT,
            "cgroup": _TEXT,
            "netns": _TEXT,
            "proxy_cgroup": _TEXT,
            "addresses": Field(list, []),
            "config": _TEXT,
            "change": _TEXT,
            "close_existing": _NO,
            "sidecar_later": _NO,
            "shadow": _NO,
            "beside_rules": _NO,
        },
        _up,
    ),
    "down": _Known(_POD, lambda pods, given: pods.down(given["pod"]).to_json()),
    "update": _Known(
        {**_POD, "config": _TEXT, "change": _TEXT},
        lambda pods, given: pods.update(
            given["pod"], given["config"], given["change"]
        ).to_json(),
    ),
    "compared": _Known(
        {**_POD, "forget": _NO},
        lambda pods, given: switching.compared(
            pods, given["pod"], forget=given["forget"]
        ),
    ),
    "cutover": _Known(
        {**_POD, "least": Field(int, ENOUGH)},
        lambda pods, given: switching.cutover(pods, given["pod"], given["least"]),
    ),
    "finish": _Known(_POD, lambda pods, given: switching.finish(pods, given["pod"])),
    "rollback": _Known(
        _POD, lambda pods, given: switching.rollback(pods, given["pod"])
    ),
    "list": _Known({}, lambda pods, _: [each.to_json() for each in pods.every()]),
    "status": _Known({"pod": _TEXT}, lambda pods, given: pods.status(given["pod"])),
    "add": _Known(
        {
            **dict.fromkeys(("netns", "sandbox", "interface"), Field(str)),
            **dict.fromkeys(("network", "name", "uid"), _TEXT),
            "config": _TEXT,
        },
        lambda pods, given: pods.add(Attachment(**given)).to_json(),
    ),
    "delete": _Known(_ATTACHMENT, lambda pods, given: pods.delete(**given)),
    "check": _Known(_ATTACHMENT, lambda pods, given: pods.check(**given)),
    "collect": _Known({"network": Field(str), "valid": Field(list)}, _collect),
    "retier": _Known({}, lambda pods, _: pods.retier()),
    "adopt": _Known({}, lambda pods, _: pods.adopt()._asdict()),
}


class Requests:
    """Does what is asked, on the pods of one node."""

    def __init__(self, node: Directories, log: Log = lambda _: None) -> None:
        self.pods = Operations(node, log)
        self._tending = Tending(self.pods)
        self._straightening = Straightening(self.pods)
        self._qualifying = Qualifying(node, self.pods.bypass, log)
        self._judges = False

    def close(self) -> None:
        """Close what was opened; pods stay enrolled. Closing twice does nothing."""
        self._qualifying.close()
        self._straightening.close()
        self._tending.close()
        self.pods.close()

    def begin(self, *, judges: bool = False) -> None:
        """Be the agent's: take over what is there.

        `judges`: a kernel that was not judged for the short path is, in the background.
        """
        self.pods.is_agent = True
        self.pods.ways.begin()
        self._judges = judges
        self.pods.renew()
        self.pods.adopt()
        self.pods.retier()

    def fileno(self) -> int:
        """What is readable when it is time to look."""
        return self._tending.fileno()

    def look(self) -> bool:
        """Look after the pods; True while one waits for something."""
        waits = self._tending.look()
        if self._qualifying.look(wanted=self._judges and self.pods.wants_judging()):
            self.pods.retier()
        self.pods.sweep()
        self._straightening.look()
        return waits

    def do(self, request: Request) -> Any:
        """The result of `request`.

        Raises:
            ProtocolError: there is no such request, or its arguments are not its own.
            MeshError: it cannot be done.
        """
        known = _KNOWN.get(request.do)
        if known is None:
            names = ", ".join(_KNOWN)
            raise ProtocolError(f"nothing is called {request.do!r}; there are: {names}")
        return known.does(self.pods, fields(request.arguments, known.takes))
