"""How the pods of a node are: what serves them, what was decided, what goes past."""

import contextlib
from pathlib import Path
from typing import Any

from beewire.bpf.kernel import Link, pins
from beewire.errors import KernelError, MeshError, SpecError
from beewire.mesh.agent import older
from beewire.mesh.agent.bypassing import Bypassing
from beewire.mesh.agent.directories import Directories, agent_pid
from beewire.mesh.agent.page_lists import PageLists
from beewire.mesh.agent.records import CLOSED, ENROLLED, PodRecord
from beewire.mesh.agent.shortened import Neighbourhood
from beewire.mesh.agent.view import inode_of
from beewire.mesh.config import Bypass
from beewire.mesh.enrol import Neighbour, Node, Pod
from beewire.mesh.enrol.hooks import hooks_in
from beewire.mesh.enrol.links import Links
from beewire.mesh.enrol.neighbours import neighbours
from beewire.mesh.programs import state
from beewire.mesh.programs.state import PodMode
from beewire.mesh.shadow import read
from beewire.mesh.shadow.rules import are_passed_over, find

_ACTING, _SHADOW = (mode.name.lower() for mode in (PodMode.ACTING, PodMode.SHADOW))
ATTACHED, DETACHED, MISSING = "attached", "detached", "missing"


def of_node(
    directories: Directories,
    node: Node | None,
    pods: list[PodRecord],
    bypass: Bypassing,
) -> dict[str, Any]:
    """The node as JSON: its agent, its programs, its pods, and what it cannot capture."""
    around = bypass.neighbourhood(node, pods)
    told = [of_pod(directories, node, record, bypass, around) for record in pods]
    hosts = [each._asdict() for each in older.host_network_pods(pods)]
    return {
        "agent": agent_pid(directories),
        "pins": str(directories.pins),
        "programs": len(node.loaded.programs) if node else 0,
        "maps": len(node.loaded.maps) if node else 0,
        "pods": told,
        "uncaptured": hosts,
        "problems": [
            f"{pod['name']}: {each}" for pod in told for each in pod["problems"]
        ],
        "advice": _advice(told),
    }


def _advice(pods: list[dict[str, Any]]) -> list[str]:
    if all(pod["bypass"]["tier"] == Bypass.OFF.value for pod in pods):
        return []
    return PageLists().advice()


def of_pod(
    directories: Directories,
    node: Node | None,
    record: PodRecord,
    bypass: Bypassing,
    around: Neighbourhood,
) -> dict[str, Any]:
    """One pod as JSON; `around` are all pods of the node."""
    links = (
        link_states(directories.links(record.id)) if record.state == ENROLLED else {}
    )
    told = {
        **record.to_json(),
        "older": len(record.older),
        "links": links,
        "mode": _ACTING,
        "compared": {},
        "listener": False,
        "decisions": {},
        "bypass": bypass.told(record, around),
        "uncaptured": [],
        "beside": [],
        "problems": [],
    }
    if record.state == CLOSED:
        return told
    cookie = int(record.id)
    if node is not None:
        told["listener"] = has_listener(node, record)
        told["decisions"] = decisions(node, cookie)
        told |= _shadow(node, cookie)
    if inode_of(Path(record.netns)) == record.netns_inode:
        told["uncaptured"] = [each._asdict() for each in older.uncaptured(record)]
    told["beside"] = [
        {**each._asdict(), "says": str(each)} for each in beside(directories, record)
    ]
    told["problems"] = list(_problems(node, record, told))
    return told


def modes(directories: Directories) -> dict[str, str]:
    """Whether the programs act in each pod that they know, by its id.

    None is told where this node's programs are those of another version.
    """
    found: dict[str, str] = {}
    with contextlib.suppress(MeshError):
        node = opened(directories)
        if node is not None:
            with node:
                for cookie, pod in node.loaded[state.pods].items():
                    acts = pod.mode != PodMode.SHADOW
                    found[str(cookie)] = _ACTING if acts else _SHADOW
    return found


def _shadow(node: Node, cookie: int) -> dict[str, Any]:
    pod = node.loaded[state.pods].get(cookie)
    if pod is None or pod.mode != PodMode.SHADOW:
        return {}
    report = read(node.loaded, cookie)
    names = ("compared", "agreed", "disagreed", "unseen")
    return {
        "mode": _SHADOW,
        "compared": {name: getattr(report, name) for name in names},
    }


def _problems(node: Node | None, record: PodRecord, told: dict[str, Any]) -> list[str]:
    found = [
        f"the program {name!r} is {how}: `beewire mesh up` anew attaches it"
        for name, how in told["links"].items()
        if how != ATTACHED
    ]
    cookie = int(record.id)
    if node is None or cookie not in node.loaded[state.pods]:
        found.append("the programs do not know it: every connection is refused")
    elif not told["listener"] and told["mode"] != _SHADOW:
        found.append("the sidecar does not listen: every inbound connection is refused")
    if not Path(record.cgroup).is_dir():
        found.append(f"its cgroup {record.cgroup} is gone")
    found += [each["says"] for each in told["beside"] if each["comes_first"]]
    if inode_of(Path(record.netns)) != record.netns_inode:
        found.append(f"its network namespace {record.netns} is gone")
    elif told["mode"] == _SHADOW:
        found += _nobody_acts(record)
    return found


def _nobody_acts(record: PodRecord) -> list[str]:
    tables = find(Path(record.netns))
    nothing = "nothing intercepts: it is in shadow mode, and Istio's rules are"
    down, back = (
        f"`beewire mesh {verb} {record.name}`" for verb in ("down", "rollback")
    )
    if not any(table.redirecting for table in tables):
        return [f"{nothing} gone; {down} and `up` make Beewire act"]
    if are_passed_over(tables):
        return [f"{nothing} passed over; {back} lets them act"]
    return []


def link_states(directory: Path) -> dict[str, str]:
    """Which hooks of a pod are served: by name of the pin."""
    return {name: link_state(directory / name) for name in hooks_in(directory)}


def link_state(pin: Path) -> str:
    """Whether a pinned link is there, and still attached to something."""
    try:
        with Link.from_pin(str(pin)) as link:
            return ATTACHED if is_attached(link) else DETACHED
    except KernelError:
        return MISSING


def is_attached(link: Link) -> bool:
    """Whether a link's cgroup, or namespace, is there."""
    info = link.info
    return bool(getattr(info, "cgroup_id", 0) or getattr(info, "netns_ino", 0))


def has_listener(node: Node, record: PodRecord) -> bool:
    """Whether a listener of the sidecar's is in one of its slots."""
    cookie = int(record.id)
    return any(slot.netns == cookie for slot in node.loaded[state.listeners])


def decisions(node: Node, cookie: int) -> dict[str, int]:
    """How often each decision was taken since enrolment; those that never were, not."""
    found = node.decisions(cookie)
    return {decision.name.lower(): n for decision, n in found.items() if n}


def beside(directories: Directories, record: PodRecord) -> list[Neighbour]:
    """Programs of others at a pod's hooks."""
    links = Links.found(directories.links(record.id)).programs()
    pod = Pod(Path(record.cgroup), Path(record.proxy_cgroup), Path(record.netns))
    try:
        return neighbours(pod, links)
    except OSError:  # a cgroup, or the namespace, is gone, which is told anyway
        return []


def opened(directories: Directories) -> Node | None:
    """The node's programs and maps, where they are loaded; None where they are not.

    Raises:
        MeshError: they are those of another version of Beewire.
    """
    if not directories.set.is_dir() or not pins.is_bpffs(str(directories.set)):
        return None
    try:
        return Node.load(directories.set)
    except (SpecError, KernelError) as error:
        raise MeshError(
            f"this node runs another version of Beewire ({error}): `beewire agent --once`"
            " upgrades it"
        ) from error
