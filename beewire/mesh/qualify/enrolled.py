"""The real programs on a ground: both pods enrolled, with every tier there is."""

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from itertools import permutations, product
from typing import Self

from beewire.errors import BeewireError, NotSupported
from beewire.mesh import enrol
from beewire.mesh.bypass import switch_off, switch_on
from beewire.mesh.config import Bypass
from beewire.mesh.enrol import SIDECAR, Enrolment, Node
from beewire.mesh.lab import Pod
from beewire.mesh.programs.bypass import state
from beewire.mesh.programs.bypass.admission import MOST, ONE
from beewire.mesh.qualify.ground import STRAIGHT, Ground
from beewire.mesh.qualify.stand import IN_LIFE, Counted, Limits
from beewire.mesh.straight import Judged, Plan, Straight, Tables, member


class Lacking(Exception):  # noqa: N818 - a result, and no error
    """The programs do not load here; the text says what the kernel lacks."""


class Enrolled:
    """Both pods of `ground`, enrolled; a context manager that withdraws them."""

    def __init__(self, ground: Ground) -> None:
        self._ground, self._limits = ground, IN_LIFE
        self._stack = contextlib.ExitStack()
        self._node: Node | None = None

    def __enter__(self) -> Self:
        self.attach(IN_LIFE)
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    def attach(self, limits: Limits) -> None:
        """Load the programs with these limits and enrol the pods, unless they are.

        Raises:
            Lacking: The kernel cannot.
        """
        if self._node is not None and self._limits == limits:
            return
        self.detach()
        try:
            node = self._stack.enter_context(Node.load(**limits._asdict()))
            self._node, self._limits = node, limits
            enrolments = {
                pod.name: self._stack.enter_context(node.enrol(_target(pod)))
                for pod in self._ground.pods
            }
            _open_ways(node, enrolments)
        except BeewireError as error:
            self.detach()
            raise Lacking(_lacking(error)) from error
        self._stack.callback(self._ground.close_listeners)
        self._ground.listen()

    def detach(self) -> None:
        """Take every program away, and leave connections as they are."""
        self._node = None
        self._stack.close()

    def unlearn(self) -> None:
        """Forget what was learnt of destinations."""
        assert self._node is not None
        habits = self._node.short_path.loaded[state.habits]
        for destination in list(habits):
            habits.delete(destination)

    def learn(self) -> None:
        """Let every known destination be one whose connections live long."""
        assert self._node is not None
        habits = self._node.short_path.loaded[state.habits]
        for destination, habit in list(habits.items()):
            habits[destination] = state.Habit(messages=MOST * ONE, owner=habit.owner)

    def counted(self, fd: int) -> Counted:
        """What the programs have counted of what one socket sent."""
        assert self._node is not None
        flow = self._node.short_path.loaded[state.flows].live.get(fd)
        return Counted() if flow is None else Counted(flow.short_bytes, flow.tcp_bytes)

    def switch(self, *, off: bool) -> None:
        """As `beewire mesh bypass off` for the node, and `on`."""
        assert self._node is not None
        (switch_off if off else switch_on)(self._node.short_path)


def _target(pod: Pod) -> enrol.Pod:
    config = replace(SIDECAR, bypass=Bypass.ALL, shortcut=True, splice=True)
    return enrol.Pod(
        pod.cgroup.path, pod.proxy.cgroup.path, pod.namespace.path, (), config
    )


def _open_ways(node: Node, pods: Mapping[str, Enrolment]) -> None:
    """Let the pods go past each other's sidecars, at the port that is for it."""
    members = tuple(member(node, name, pod, None) for name, pod in pods.items())
    judged = tuple(
        Judged(kind, client, server, address, STRAIGHT, (address, STRAIGHT), ())
        for (client, server), kind in product(permutations(members, 2), Straight)
        for address in server.addresses
    )
    Tables(node.loaded).apply(Plan(members, judged))


def _lacking(error: BeewireError) -> str:
    said = str(error).splitlines()[0].rstrip(".:")
    return (
        said if isinstance(error, NotSupported) else f"the programs do not run: {said}"
    )
