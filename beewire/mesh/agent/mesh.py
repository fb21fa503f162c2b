"""`Mesh`: the pods of this node, from Python, as `beewire mesh` has them."""

import contextlib
import os
from collections.abc import Mapping
from typing import Any, Self

from beewire.errors import MeshError
from beewire.mesh.agent import client, status, switching_off
from beewire.mesh.agent.directories import Directories, node_of
from beewire.mesh.agent.protocol import NOTHING, Request
from beewire.mesh.agent.records import PodRecord, from_json
from beewire.mesh.agent.requests import READING, Requests
from beewire.mesh.agent.target import Target
from beewire.mesh.config import PodConfig, write_file
from beewire.mesh.shadow import ENOUGH


class Mesh:
    """The pods of one node: through its agent where one listens, else by itself.

        with Mesh() as mesh:
            pod = mesh.up(Target(cgroup="/sys/fs/cgroup/pod-a", netns="/run/netns/pod-a",
                                 proxy_cgroup="/sys/fs/cgroup/pod-a/proxy"))
            print(mesh.status(pod.name)["decisions"])
            mesh.down(pod.name)

    Pods stay enrolled when it is closed. It needs root. Without `directories` they are
    the usual ones, or those that BEEWIRE_PINS and BEEWIRE_RUN name.
    """

    def __init__(self, directories: Directories | None = None) -> None:
        self.directories = directories or node_of(os.environ)
        self._own: Requests | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what was opened. Closing twice does nothing."""
        own, self._own = self._own, None
        if own is not None:
            own.close()

    def up(self, target: Target) -> PodRecord:
        """Enrol a pod, or change the configuration of one that is enrolled.

        Raises:
            MeshError: it cannot be done; nothing has changed.
            UsageError: the configuration is not one.
        """
        # The agent runs in another directory.
        absolute = target._replace(
            cgroup=_absolute(target.cgroup),
            netns=_absolute(target.netns),
            proxy_cgroup=_absolute(target.proxy_cgroup),
        )
        told = {**absolute._asdict(), "addresses": list(target.addresses)}
        return from_json(self.do("up", told))

    def down(self, pod: str) -> PodRecord:
        """Withdraw a pod; its open connections stay.

        Raises:
            MeshError: there is none of that name.
        """
        return from_json(self.do("down", {"pod": pod}))

    def update(
        self, pod: str, config: str | PodConfig = "", change: str = ""
    ) -> PodRecord:
        """Change a pod's configuration: no connection sees half of it.

        `config` is a PodConfig, or the text of a Beewire file; without it the pod keeps
        its own. The settings of `change`, another such text, win over it.

        Raises:
            MeshError: there is no such pod, or it does not fit; nothing has changed.
            UsageError: the configuration is not one.
        """
        text = config if isinstance(config, str) else write_file(config)
        told = {"pod": pod, "config": text, "change": change}
        return from_json(self.do("update", told))

    def compared(self, pod: str, *, forget: bool = False) -> dict[str, Any]:
        """What was decided in shadow mode and what Istio's rules did, by rule.

        With `forget` it is counted anew from now on.

        Raises:
            MeshError: there is none of that name.
        """
        found: dict[str, Any] = self.do("compared", {"pod": pod, "forget": forget})
        return found

    def cutover(self, pod: str, *, least: int = ENOUGH) -> dict[str, Any]:
        """Let Beewire act in the place of Istio's rules; open connections stay.

        Raises:
            MeshError: the two disagreed, or fewer than `least` connections were compared;
                nothing has changed.
        """
        found: dict[str, Any] = self.do("cutover", {"pod": pod, "least": least})
        return found

    def finish(self, pod: str) -> dict[str, Any]:
        """Remove Istio's rules, which cutover has passed over: there is no way back.

        Raises:
            MeshError: the rules act, or a connection goes by them yet; nothing has changed.
        """
        found: dict[str, Any] = self.do("finish", {"pod": pod})
        return found

    def rollback(self, pod: str) -> dict[str, Any]:
        """Let Istio's rules act in the place of Beewire; open connections stay.

        Raises:
            MeshError: there is none of that name, or no rules any more.
        """
        found: dict[str, Any] = self.do("rollback", {"pod": pod})
        return found

    def bypass_off(self, pod: str = "") -> list[str]:
        """Take the connections of all pods, or of one, back to TCP; the names of the pods.

        It holds until `bypass_on`, whatever becomes of the agent. No byte is lost: what
        waits on the short path is read first.

        Raises:
            MeshError: there is none of that name. Or the agent does not answer: it is off
                all the same, and says so in a note.
        """
        found = switching_off.switch_off(self.directories, pod)
        try:
            self.do("retier")
        except MeshError as error:
            error.add_note(
                "all connections are on TCP nevertheless, but new ones may still go past"
                " sidecars: restart the agent"
            )
            raise
        return [each.name for each in found]

    def bypass_on(self, pod: str = "") -> list[str]:
        """Let connections of all pods, or of one, go by the short path again.

        Raises:
            MeshError: there is none of that name, or all of the node is switched off.
        """
        found = switching_off.switch_on(self.directories, pod)
        self.do("retier")
        return [each.name for each in found]

    def pods(self) -> list[PodRecord]:
        """The pods of this node, by name."""
        return [from_json(each) for each in self.do("list")]

    def modes(self) -> dict[str, str]:
        """Of each pod's id, whether the programs act there: "acting", or "shadow".

        Those that only wait behind a gate are left out.
        """
        return status.modes(self.directories)

    def status(self, pod: str = "") -> dict[str, Any]:
        """What is known of a pod; without a name, of the node and all its pods.

        Raises:
            MeshError: there is none of that name.
        """
        found: dict[str, Any] = self.do("status", {"pod": pod})
        return found

    def do(self, request: str, arguments: Mapping[str, object] = NOTHING) -> Any:
        """The answer to one request of the agent's protocol."""
        # What goes wrong here has nothing to do with what goes wrong below.
        with contextlib.suppress(client.NoAgent):
            return client.ask(self.directories, request, arguments)
        if request not in READING and client.comes(self.directories):
            return client.ask(self.directories, request, arguments)
        if self._own is None:
            self._own = Requests(self.directories)
        return self._own.do(Request(request, dict(arguments)))


def _absolute(path: str) -> str:
    # Links stay links: /proc/self/ns/net is no file that could be resolved.
    return os.path.abspath(path) if path else ""  # noqa: PTH100 - as said
