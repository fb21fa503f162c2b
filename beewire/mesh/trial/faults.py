"""What goes wrong on a node while requests pass, and how many of them it costs.

wrk in pod A asks nginx in pod B, through both sidecars, a new connection for every
request. A request that fails, or whose response misses either sidecar's header, counts as
failed; the latter as bypassed, too.
"""

import contextlib
import itertools
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NamedTuple

from beewire.bpf import Loaded, collect, load
from beewire.bpf.kernel import Link, running
from beewire.errors import MapError, MeshError
from beewire.mesh.enrol import HOOKS, PROGRAMS, SIDECAR, Node
from beewire.mesh.lab import Iptables, LoadConfig, LoadResult, Pod
from beewire.mesh.lab import load as lab_load
from beewire.mesh.lab.load import finish
from beewire.mesh.lab.load import running as running_load
from beewire.mesh.lab.patience import PATIENCE
from beewire.mesh.programs import state
from beewire.mesh.programs.addresses import Address, Endpoint
from beewire.mesh.programs.state import Alias, Handshake
from beewire.mesh.trial.rig import CHECKOUT, Rig, target

BEFORE_S = 0.5  # of load before anything goes wrong, and after
NOBODY = 0xFFFF_FFFF_0000_0000  # a namespace cookie that no pod has
CLOSED_TIMEOUT = "netfilter/nf_conntrack_tcp_timeout_close"  # usually 10 s
FORGOTTEN_S = 1.5
FILL = 1 << 12  # entries written at once
CHANGED = ("PodState", "Slot", "Dialled", "Handshake", "Counts")


class Survived(NamedTuple):
    """What a fault cost: it happened `times` during `requests`; `failed` of them did.

    `bypassed` responses lack a sidecar's header. `note` says what else was found.
    """

    requests: int
    failed: int
    bypassed: int
    times: int
    note: str = ""


class Disturb(NamedTuple):
    """Something that goes wrong again and again: each step returns at once."""

    step: Callable[[], None]
    pause_s: float


class Fault(NamedTuple):
    """One thing that goes wrong: a sentence, and how it is done.

    `refuses` says that what is refused meanwhile is right: the sidecar is not there.
    `compares` says that Istio's rules act, of which nothing is claimed.
    `at_least_s` is how long it takes to happen once.
    """

    what: str
    disturbing: "Callable[[Rig], contextlib.AbstractContextManager[Disturb]]"
    refuses: bool = False
    compares: bool = False
    ipv6: bool = False
    at_least_s: int = 0


def survive(rig: Rig, fault: Fault, seconds: int = 4) -> Survived:
    """Load both pods for `seconds`, and let `fault` happen all the while.

    Raises:
        MeshError: something ended that had to live.
    """
    seconds = max(seconds, fault.at_least_s)
    config = LoadConfig(seconds=seconds, close=True, ipv6=fault.ipv6)
    with fault.disturbing(rig) as disturb:
        found, times = _under_load(rig, config, disturb)
    after = lab_load(rig.lab.a, rig.lab.b, LoadConfig(seconds=1, close=True))
    rig.check()
    note = ""
    if after.errors:
        note = f"{after.errors} of {after.requests} requests failed afterwards, too"
    failed = found.errors + after.errors
    bypassed = found.missing + after.missing
    return Survived(found.requests + after.requests, failed, bypassed, times, note)


def _under_load(
    rig: Rig, config: LoadConfig, disturb: Disturb
) -> tuple[LoadResult, int]:
    times = 0
    with running_load(rig.lab.a, rig.lab.b, config) as process:
        until = time.monotonic() + config.seconds - BEFORE_S
        time.sleep(BEFORE_S)
        while (left_s := until - time.monotonic()) > 0:
            disturb.step()
            times += 1
            time.sleep(min(disturb.pause_s, left_s))
        return finish(process, config), times


@contextlib.contextmanager
def _nothing(_: Rig) -> Iterator[Disturb]:
    yield Disturb(lambda: None, 60)


@contextlib.contextmanager
def _agent_killed(rig: Rig) -> Iterator[Disturb]:
    def step() -> None:
        rig.stop_agent(signal.SIGKILL)
        time.sleep(0.2)
        rig.start_agent()

    yield Disturb(step, 0.2)


@contextlib.contextmanager
def _agent_upgraded(rig: Rig) -> Iterator[Disturb]:
    # Another version has other programs, and maps of another layout: by turns.
    other = another_version(rig.lab.run.state / "version")
    versions = itertools.cycle((other, CHECKOUT))

    def step() -> None:
        rig.stop_agent()
        rig.start_agent(next(versions))

    try:
        yield Disturb(step, 0.1)
    finally:
        rig.stop_agent()
        rig.start_agent()


def another_version(tree: Path) -> Path:
    """A copy of this checkout, in which what stands in the maps begins with a field more."""
    if not tree.exists():
        beside = shutil.ignore_patterns("__pycache__")
        shutil.copytree(CHECKOUT / "beewire", tree / "beewire", ignore=beside)
        source = tree / "beewire" / "mesh" / "programs" / "state.py"
        text = source.read_text()
        for name in CHANGED:
            head = re.compile(rf'(class {name}\(Struct\):\n    """.*?"""\n)', re.DOTALL)
            text = head.sub(r"\1\n    another: u64 = 5\n", text)
        source.write_text(text)
    return tree


@contextlib.contextmanager
def _links_updated(rig: Rig) -> Iterator[Disturb]:
    # The programs anew, on the maps that there are: what an upgrade does, 20 times a
    # second for every link of both pods.
    collection = collect(PROGRAMS, name="mesh", target=running())
    with Node.load(rig.directories.set) as node:
        known = node.loaded.maps
        maps = {name: known[name] for name in collection.maps if name in known}
        with load(collection, maps=maps) as fresh:
            sets = itertools.cycle((fresh, node.loaded))

            def step() -> None:
                programs = next(sets)
                for pin in rig.links():
                    _update(pin, programs)

            yield Disturb(step, 0.05)
            for pin in rig.links():
                _update(pin, node.loaded)


def _update(pin: Path, programs: Loaded) -> None:
    for hook in HOOKS:
        if hook.name == pin.name:
            with Link.from_pin(str(pin)) as link:
                link.update(programs[hook.program].live)


@contextlib.contextmanager
def _configuration_updated(rig: Rig) -> Iterator[Disturb]:
    # Both capture all that is asked for; the second has lists to look up.
    excluded = (ip_network("192.168.0.0/16"), ip_network("172.16.0.0/12"))
    other = replace(
        SIDECAR,
        inbound_ports_exclude=(*SIDECAR.inbound_ports_exclude, 9999),
        outbound_ip_ranges_exclude=excluded,
    )
    turns = itertools.cycle((other, SIDECAR))

    def step() -> None:
        config = next(turns)
        for pod in rig.lab.pods:
            rig.mesh.update(f"lab/{pod.name}", config)

    yield Disturb(step, 0.02)


@contextlib.contextmanager
def _sidecar_restarted(rig: Rig) -> Iterator[Disturb]:
    def step() -> None:
        rig.stop_sidecar(rig.lab.b)
        time.sleep(0.1)
        rig.start_sidecar(rig.lab.b)

    yield Disturb(step, 0.5)


@contextlib.contextmanager
def _sidecar_restarted_under_rules(rig: Rig) -> Iterator[Disturb]:
    # The same node, the same sidecars, and nobody but Istio's rules.
    with _rules(rig), _sidecar_restarted(rig) as disturb:
        for name in _names(rig):
            rig.mesh.rollback(name)
        yield disturb
        # The rules themselves let some past, which is no matter of the cutover.
        for name in _names(rig):
            rig.mesh.compared(name, forget=True)
    # Envoys keep connections to each other open, also one that the rules let past.
    for pod in rig.lab.pods:
        rig.stop_sidecar(pod)
        rig.start_sidecar(pod)


@contextlib.contextmanager
def _switched(rig: Rig) -> Iterator[Disturb]:
    # Rules that act beside Beewire, then by turns instead of it.
    turns = itertools.cycle((rig.mesh.rollback, _cut_over(rig)))

    def step() -> None:
        turn = next(turns)
        for name in _names(rig):
            turn(name)

    with _rules(rig):
        yield Disturb(step, 0.2)


@contextlib.contextmanager
def _rules(rig: Rig) -> Iterator[None]:
    """Istio's rules beside Beewire in both pods; Beewire acts alone again afterwards."""
    with contextlib.ExitStack() as rules:
        for pod in rig.lab.pods:
            rules.enter_context(Iptables(SIDECAR).install(pod))
            pod.namespace.sysctl(CLOSED_TIMEOUT, 1)
        # Rules that come later than connections break them: what the sidecars keep open
        # from before ends here, and not in what is measured.
        lab_load(rig.lab.a, rig.lab.b, LoadConfig(seconds=1, close=True))
        # And what ends with a reset takes others past the sidecar for as long as conntrack
        # remembers it: see beewire.mesh.lab.escaping.
        time.sleep(FORGOTTEN_S)
        yield
        # The rules stay, passed over: with them older connections would go.
        for name in _names(rig):
            _cut_over(rig)(name)


def _names(rig: Rig) -> list[str]:
    return [f"lab/{pod.name}" for pod in rig.lab.pods]


def _cut_over(rig: Rig) -> Callable[[str], dict[str, Any]]:
    return lambda name: rig.mesh.cutover(name, least=0)


ORDERS = tuple(itertools.permutations(("cgroup", "netns", "down")))


@contextlib.contextmanager
def _pods_deleted(rig: Rig) -> Iterator[Disturb]:
    orders = itertools.cycle(ORDERS)
    numbers = itertools.count(3)

    def step() -> None:
        come_and_go(rig, next(numbers), next(orders))

    yield Disturb(step, 0.02)


def come_and_go(rig: Rig, number: int, order: tuple[str, ...]) -> None:
    """Make a pod, enrol it, and take it away in this order: cgroup, netns, down.

    Raises:
        MeshError: it is known afterwards, or something refused.
    """
    name = f"p{number}"
    pod = Pod(rig.lab.run, name, number % 250 + 3, ipv6=False)
    pod.namespace.create()
    pod.app.cgroup.create()
    pod.proxy.cgroup.create()
    rig.mesh.up(target(pod)._replace(addresses=(pod.address,)))
    steps: dict[str, Callable[[], object]] = {
        "cgroup": pod.cgroup.delete,
        "netns": pod.namespace.delete,
        "down": lambda: _withdraw(rig, f"lab/{name}"),
    }
    for each in order:
        steps[each]()
    if any(record.name == f"lab/{name}" for record in rig.mesh.pods()):
        raise MeshError(f"pod {name} is known after {', '.join(order)}")


def _withdraw(rig: Rig, name: str) -> None:
    # The agent may have noticed by itself that the pod is gone.
    with contextlib.suppress(MeshError):
        rig.mesh.down(name)


@contextlib.contextmanager
def _maps_full(rig: Rig) -> Iterator[Disturb]:
    # One request each has given the pods' destinations their aliases before.
    lab_load(rig.lab.a, rig.lab.b, LoadConfig(seconds=1, close=True))
    with Node.load(rig.directories.set) as node:
        try:
            fill(node)
            yield Disturb(lambda: None, 60)
        finally:
            empty(node)


def fill(node: Node) -> None:
    """Take every place in the maps that connections write to, for a pod that is none."""
    loaded = node.loaded
    nowhere = Endpoint(address=Address(), port=0)
    _fill(
        loaded[state.handshakes],
        state.MAX_HANDSHAKES,
        lambda n: (Handshake(netns=NOBODY, target=n), nowhere),
    )
    _fill(
        loaded[state.originals],
        state.MAX_ALIASES,
        lambda n: (Alias(netns=NOBODY, ip=n), nowhere),
    )


def empty(node: Node) -> None:
    """Take out what `fill` put in."""
    for table in (state.handshakes, state.originals):
        _drop(node.loaded[table])


def _drop(table: Any) -> None:
    # Any: maps of different keys, which all have the cookie.
    for key in [key for key in table if key.netns == NOBODY]:
        table.delete(key)


def _fill(table: Any, most: int, entry: Callable[[int], tuple[Any, Any]]) -> None:
    # Any: maps of different keys and values.
    for first in range(0, most, FILL):
        wanted = dict(map(entry, range(first, min(first + FILL, most))))
        try:
            table.update(wanted)
        except MapError:
            return  # full, as wanted: others have the rest


FAULTS = {
    "nothing": Fault("nothing goes wrong", _nothing),
    "agent_killed": Fault(
        "the agent is killed, and another one started", _agent_killed
    ),
    "agent_upgraded": Fault(
        "an agent of another version takes over: other programs, other maps",
        _agent_upgraded,
        at_least_s=8 * PATIENCE,
    ),
    "links_updated": Fault("every link gets other programs", _links_updated),
    "configuration_updated": Fault(
        "both pods' configurations change", _configuration_updated
    ),
    "pods_deleted": Fault(
        "pods come and go: their cgroup, their namespace and the enrolment in any order",
        _pods_deleted,
    ),
    "maps_full": Fault("the maps that connections write to are full", _maps_full),
    "maps_full_without_alias": Fault(
        "the maps are full, and connections need an entry: IPv6",
        _maps_full,
        refuses=True,
        ipv6=True,
    ),
    "sidecar_restarted": Fault(
        "pod B's sidecar is killed, and started again", _sidecar_restarted, refuses=True
    ),
    "sidecar_restarted_iptables": Fault(
        "the same while Istio's rules act, and Beewire does not",
        _sidecar_restarted_under_rules,
        compares=True,
    ),
    "switched": Fault(
        "both pods are rolled back to Istio's rules, and cut over to Beewire", _switched
    ),
}
