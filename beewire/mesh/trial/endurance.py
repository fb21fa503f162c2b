"""The short path for a long time: millions of requests on each tier, and everything at once.

What is compared, and what may go wrong, stands in `asking` and `streaming`. Here is what the
node does meanwhile, and what it should not have done: memory that grows, entries that stay.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from beewire.mesh.lab import NginxConfig, SidecarConfig
from beewire.mesh.lab.board import Board
from beewire.mesh.lab.place import Place
from beewire.mesh.trial import asking, streaming
from beewire.mesh.trial.asking import Asking, ask
from beewire.mesh.trial.rig import CHECKOUT, Rig

HTTP_PORT, TRACE_PORT, TCP_PORT, ECHO_PORT = 80, 8080, 81, 9000
FAULTS = tuple(dict.fromkeys((*asking.FAULTS, *streaming.FAULTS)))
POLL_S = 0.2
LOOK_S = 5.0  # how often the connections themselves are asked
# Of 16 connections most live for ever; the others end after so many requests.
AGES = (0, 0, 0, 0, 0, 1000, 100, 10)
_ROWS = tuple(dict.fromkeys((*asking.ROWS, *streaming.ROWS, "restarting")))


class Tier(NamedTuple):
    """A tier that is tried: a pod's settings for it, and the ports that are asked."""

    name: str
    change: str
    ports: tuple[int, ...]

    @property
    def switches(self) -> tuple[str, ...]:
        """What it needs besides `bypass`."""
        return {"shortcut": ("shortcut",), "splice": ("shortcut", "splice")}.get(
            self.name, ()
        )

    def is_on(self, told: Mapping[str, Any]) -> bool:
        """Whether a pod has it, by its status."""
        tier = "all" if self.switches else self.name
        return told["tier"] == tier and all(told[each] for each in self.switches)


def _change(tier: str, **switches: bool) -> str:
    words = {"shortcut": False, "splice": False, **switches}
    told = ", ".join(f"{name}: {str(value).lower()}" for name, value in words.items())
    return f'bypass: {{tier: "{tier}", {told}}}\n'


TIERS = {
    each.name: each
    for each in (
        Tier("sidecars", _change("sidecars"), (HTTP_PORT, TCP_PORT)),
        Tier("all", _change("all"), (HTTP_PORT, TCP_PORT)),
        # Only where a sidecar has nothing but TCP to do may it be left out.
        Tier("shortcut", _change("all", shortcut=True), (TCP_PORT,)),
        Tier("splice", _change("all", shortcut=True, splice=True), (TCP_PORT,)),
    )
}


def endurance_rig() -> Rig:
    """Two pods whose sidecars know an HTTP port, and two that carry TCP."""
    return Rig(
        SidecarConfig(workers=1, tcp_ports=(TCP_PORT, ECHO_PORT)),
        NginxConfig(ports=(HTTP_PORT, TRACE_PORT, TCP_PORT)),
    )


def board() -> Board:
    """Where everybody counts."""
    return Board(*_ROWS)


def judge(rig: Rig) -> str:
    """Qualify the kernel for the rig's agent; what was said, in the end."""
    done = subprocess.run(
        [sys.executable, "-m", "beewire", "mesh", "qualify"],
        env=rig.environment,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    rig.mesh.do("retier")
    return (done.stdout.strip() or done.stderr.strip()).rpartition("\n")[2]


def give(rig: Rig, tier: Tier) -> str:
    """Give both pods a tier; why they do not have it, "" if they do."""
    for pod in rig.lab.pods:
        rig.mesh.update(f"lab/{pod.name}", change=tier.change)
    for pod in rig.lab.pods:
        told = rig.mesh.status(f"lab/{pod.name}")["bypass"]
        if not tier.is_on(told):
            return "; ".join(told["why"]) or f"pod {pod.name} has {told['tier']}"
    return ""


class Compared(NamedTuple):
    """What came of the requests of one tier.

    `errors` are answers that did not come, or not by the way that they had to come;
    `mismatched` are those with other bytes. At the end, `on_tier` ends of connections were
    on the tier itself; `short_messages` and `tcp_segments` is what those that were open
    had carried either way.
    """

    requests: int = 0
    connections: int = 0
    bytes: int = 0
    errors: int = 0
    mismatched: int = 0
    on_tier: int = 0
    short_messages: int = 0
    tcp_segments: int = 0
    seconds: float = 0.0


Tell = Callable[[Compared], None]


def compare(rig: Rig, tier: Tier, total: int, tell: Tell) -> Compared:
    """Ask `total` requests, and compare each answer; `tell` hears how it goes.

    Raises:
        MeshError: something ended by itself.
    """
    with board() as counts, contextlib.ExitStack() as stack:
        for place, port in enumerate(tier.ports):
            share = total // len(tier.ports)
            share += total % len(tier.ports) if place == 0 else 0
            wanted = Asking(
                rig.lab.b.address,
                port,
                rig.lab.run.state / "faults.log",
                total=share,
                connections=16 // len(tier.ports),
                ages=AGES,
                stamped=port == HTTP_PORT,
                seed=place + 1,
            )
            stack.enter_context(_asking(rig.lab.a.app, wanted, counts, place))
        begun, looked = time.monotonic(), 0.0
        found = Compared()
        while counts.total("ended") < len(tier.ports):
            time.sleep(POLL_S)
            rig.check()
            if time.monotonic() - looked > LOOK_S:
                looked = time.monotonic()
                found = found._replace(**_carried(rig, tier.name))
            found = _counted(found, counts, time.monotonic() - begun)
            tell(found)
        return found


@contextlib.contextmanager
def _asking(place: Place, wanted: Asking, counts: Board, number: int) -> Iterator[int]:
    with place.running(lambda: ask(wanted, counts, number, "restarting")) as pid:
        yield pid


def _counted(found: Compared, counts: Board, seconds: float) -> Compared:
    return found._replace(
        requests=counts.total("requests"),
        connections=counts.total("connections"),
        bytes=counts.total("bytes"),
        errors=sum(counts.total(each) for each in FAULTS if each != "mismatched"),
        mismatched=counts.total("mismatched"),
        seconds=seconds,
    )


def _carried(rig: Rig, tier: str) -> dict[str, int]:
    found = [
        each
        for pod in rig.mesh.status()["pods"]
        for each in pod["bypass"]["connections"]
    ]
    names = ("short_messages", "tcp_segments")
    carried = {name: sum(each[name] or 0 for each in found) for name in names}
    return carried | {"on_tier": sum(each["tier"] == tier for each in found)}


def faults(rig: Rig) -> str:
    """The first faults, in words."""
    log = rig.lab.run.state / "faults.log"
    return log.read_text() if log.exists() else ""
