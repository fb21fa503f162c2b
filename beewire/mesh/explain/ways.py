"""The hooks that a connection passes, by what is done with it."""

from ipaddress import IPv6Address

from beewire.mesh.decision import AGENT_DNS_PORT, Action, Direction
from beewire.mesh.enrol import HOOKS
from beewire.mesh.explain.explanation import Step
from beewire.mesh.explain.question import ended
from beewire.mesh.explain.subject import IP, Subject

_LOCALHOST6 = IPv6Address("::1")
_KERNEL = {
    "inbound": "sk_lookup",
    "handover": "sock_ops",
    "original": "getsockopt",
    "peer4": "getpeername4",
    "peer6": "getpeername6",
    "answer4": "recvmsg4",
    "answer6": "recvmsg6",
    "ask4": "sendmsg4",
    "ask6": "sendmsg6",
    "outbound4": "connect4",
    "outbound6": "connect6",
}


def step(
    subject: Subject, name: str, did: str, before: str = "", after: str = ""
) -> Step:
    """One hook, by the name of our program there."""
    hook = next(hook for hook in HOOKS if hook.name == name)
    path = {
        "cgroup": subject.cgroup,
        "proxy_cgroup": subject.proxy_cgroup,
        "netns": subject.namespace,
    }[hook.place.value]
    kind = "namespace" if hook.place.value == "netns" else "cgroup"
    # Of a pod whose network was announced, and nothing else yet, the path is empty.
    place = f"{kind} {path}" if path.parts else f"its {kind}, which is not known yet"
    return Step(_KERNEL[name], name, place, did, before, after)


def listener_port(subject: Subject, action: Action) -> int:
    """The port that an action sends connections to; 0 for none."""
    config = subject.configuration.config
    return {
        Action.TO_OUTBOUND: config.proxy_port,
        Action.TO_INBOUND: config.inbound_capture_port,
        Action.TO_DNS: AGENT_DNS_PORT,
    }.get(action, 0)


def outbound(
    subject: Subject, action: Action, wanted: tuple[IP, int], target: str
) -> list[Step]:
    """The hooks of a socket that connects; `target` is what it is sent to."""
    version, dialled = wanted[0].version, ended(*wanted)
    first = f"outbound{version}"
    if action is Action.PASS:
        return [step(subject, first, "decides, and leaves it alone")]
    if action is Action.REFUSE:
        return [
            step(subject, first, "decides, and refuses: connect() fails with EPERM")
        ]
    peer = step(subject, f"peer{version}", "shows what was dialled", target, dialled)
    if action is Action.TO_DNS:
        how = "decides, and sends it to the agent's resolver"
        return [step(subject, first, how, dialled, target), peer]
    is_alias = target.startswith("127.65.")
    how = (
        "decides, and sends it to the address that stands for what was dialled"
        if is_alias
        else "decides, sends it to the listener, and keeps in the socket what was dialled"
    )
    carried = (
        "nothing to hand over: the address says where it was going"
        if is_alias
        else "hands over what was dialled, from before the SYN until it is accepted"
    )
    return [
        step(subject, first, how, dialled, target),
        step(subject, "handover", carried),
        step(subject, "original", "answers SO_ORIGINAL_DST", target, dialled),
        peer,
    ]


def query(
    subject: Subject, action: Action, resolver: tuple[IP, int], target: str
) -> list[Step]:
    """The hooks of a query that a socket sends without connecting."""
    version, dialled = resolver[0].version, ended(*resolver)
    ask, answer = f"ask{version}", f"answer{version}"
    if action is Action.PASS:
        return [step(subject, ask, "decides, and leaves it alone")]
    if action is Action.REFUSE:
        return [step(subject, ask, "decides, and refuses: sendto() fails with EPERM")]
    return [
        step(subject, ask, "decides, and sends it to the resolver", dialled, target),
        step(subject, answer, "shows the resolver that was asked", target, dialled),
    ]


def inbound(subject: Subject, action: Action, arrived: str) -> list[Step]:
    """The hooks of a connection that comes to the pod."""
    keeps = step(subject, "handover", "keeps in the accepted socket what was decided")
    if action is Action.PASS:
        return [step(subject, "inbound", "decides, and leaves it alone"), keeps]
    if action is Action.REFUSE:
        return [step(subject, "inbound", "refuses it: the caller gets a reset")]
    port = listener_port(subject, action)
    return [
        step(subject, "inbound", f"decides, and gives it to the listener on {port}"),
        keeps,
        step(subject, "original", f"answers SO_ORIGINAL_DST with {arrived}, its own"),
    ]


def target_of(subject: Subject, action: Action, wanted: tuple[IP, int]) -> str:
    """Where a connection is sent to: its alias where it has one by now, else what may be."""
    address, port = wanted
    listener = listener_port(subject, action)
    if not listener:
        return ""
    if address.version == 6:
        return ended(_LOCALHOST6, listener)
    known = aliases(subject).get(ended(address, port))
    if known is not None:
        return f"{known}:{listener}"
    if action is Action.TO_DNS and not subject.configuration.config.dns_alias:
        return f"127.0.0.1:{listener}"
    return f"127.65.x.y:{listener}"


def aliases(subject: Subject) -> dict[str, str]:
    """The aliases of a pod, by what they stand for."""
    if subject.node is None or not subject.netns:
        return {}
    known = subject.node.aliases(subject.netns)
    return {destination: alias for alias, destination in known.items()}


def direction_of(
    subject: Subject, source: IP | None, destination: IP
) -> Direction | None:
    """Which way it is set up, as the pod sees it; None where neither end is its own."""
    if source is None or subject.is_own(source):
        return Direction.OUTBOUND
    return Direction.INBOUND if subject.is_own(destination) else None
