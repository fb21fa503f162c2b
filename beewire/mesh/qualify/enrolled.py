"""The real programs on a ground: both pods enrolled, with everything on the short path."""

import contextlib
from dataclasses import replace
from typing import Final, Self

from beewire.errors import BeewireError, NotSupported
from beewire.mesh import enrol
from beewire.mesh.bypass import switch_off, switch_on
from beewire.mesh.config import Bypass
from beewire.mesh.enrol import SIDECAR, Node
from beewire.mesh.lab import Pod
from beewire.mesh.programs.bypass import state
from beewire.mesh.programs.bypass.state import BOUND
from beewire.mesh.qualify.ground import Ground
from beewire.mesh.qualify.stand import Counted

UNBOUNDED: Final = 1 << 62
"""A bound that no queue reaches."""


class Lacking(Exception):  # noqa: N818 - a result, and no error
    """The programs do not load here; the text says what the kernel lacks."""


class Enrolled:
    """Both pods of `ground`, enrolled; a context manager that withdraws them."""

    def __init__(self, ground: Ground, bound: int = BOUND) -> None:
        self._ground, self._bound = ground, bound
        self._stack = contextlib.ExitStack()
        self._node: Node | None = None

    def __enter__(self) -> Self:
        self.attach()
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    def attach(self) -> None:
        """Load the programs and enrol the pods, unless they are.

        Raises:
            Lacking: The kernel cannot.
        """
        if self._node is not None:
            return
        try:
            # What is met here is short: every connection is worth it. And nobody parts: what
            # is judged is the short path.
            node = Node.load(bound=self._bound, pays=0, large=0)
            self._node = self._stack.enter_context(node)
            for pod in self._ground.pods:
                self._stack.enter_context(self._node.enrol(_target(pod)))
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
        """Forget what was learnt of destinations: the next connection is joined."""
        assert self._node is not None
        habits = self._node.short_path.loaded[state.habits]
        for destination in list(habits):
            habits.delete(destination)

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
    config = replace(SIDECAR, bypass=Bypass.ALL)
    return enrol.Pod(
        pod.cgroup.path, pod.proxy.cgroup.path, pod.namespace.path, (), config
    )


def _lacking(error: BeewireError) -> str:
    said = str(error).splitlines()[0].rstrip(".:")
    return (
        said if isinstance(error, NotSupported) else f"the programs do not run: {said}"
    )
