"""`Node`: the data path of one machine, loaded once, whatever the number of pods."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Self

from beewire.bpf import Loaded, collect, features, load, open_pinned
from beewire.bpf.author.collection import Collection
from beewire.bpf.kernel import AnyMap, running
from beewire.bpf.object import ProgramKind
from beewire.errors import KernelError, MeshError
from beewire.mesh.config import PodConfig
from beewire.mesh.decision import Rule
from beewire.mesh.enrol import plumbing
from beewire.mesh.enrol.configurations import Configurations
from beewire.mesh.enrol.enrolment import Enrolment, Shared
from beewire.mesh.enrol.entries import Entries, Listening
from beewire.mesh.enrol.hooks import PROGRAMS
from beewire.mesh.enrol.links import Links
from beewire.mesh.enrol.pod import Pod
from beewire.mesh.enrol.scene import read
from beewire.mesh.enrol.short_path import ShortPath
from beewire.mesh.network import Network
from beewire.mesh.programs import state
from beewire.mesh.programs.bypass.state import BOUND, LARGE, OVERDUE, PAYS
from beewire.mesh.programs.state import Decision, PodMode

NAME = "mesh"


class Node:
    """The programs and maps that all pods share. A context manager that closes them.

    Closing leaves pods that are enrolled as they are where the programs are pinned;
    otherwise their links, which hold the programs, have to be closed first.
    """

    def __init__(self, loaded: Loaded, short_path: ShortPath | None = None) -> None:
        self.loaded = loaded
        self.configurations = Configurations(loaded)
        self.short_path = short_path or ShortPath(loaded)

    @classmethod
    def load(
        cls,
        pins: Path | None = None,
        *,
        bound: int = BOUND,
        pays: int = PAYS,
        large: int = LARGE,
        overdue: int = OVERDUE,
    ) -> Self:
        """Load the programs, or find them below `pins`, a directory on a bpffs.

        With `pins` they outlive the process: what is found there is used as it is, and
        what is not is loaded and pinned. Without, they live as long as their links.
        Those of the short path come when a pod first wants them (`PodConfig.bypass`);
        `bound` is how many bytes of memory may wait for a reader there, `pays` how many
        messages, in sixteenths, make a connection worth it (of 0 every one is), and of how
        many bytes a message makes an application part (0: it never does). `overdue` is how
        many nanoseconds TCP's bytes may lie unread before an application is told again.

        Raises:
            NotSupported: The kernel lacks what the data path stands on.
            KernelError: The kernel refused a program, a map or a pin.
            SpecError: The maps below `pins` are those of another version.
        """
        limits = {"bound": bound, "pays": pays, "large": large, "overdue": overdue}
        if pins is None:
            loaded = _load()
            return cls(loaded, ShortPath(loaded, None, limits))
        if pins.exists():
            return cls._found(pins, limits)
        with ExitStack() as stack:
            loaded = stack.enter_context(_load())
            loaded.pin(str(pins))
            stack.pop_all()
        return cls(loaded, ShortPath(loaded, pins, limits))

    @classmethod
    def _found(cls, pins: Path, limits: Mapping[str, int]) -> Self:
        with ExitStack() as stack:
            loaded = stack.enter_context(open_pinned(PROGRAMS, str(pins), name=NAME))
            short_path = stack.enter_context(ShortPath(loaded, pins, limits))
            short_path.found()  # another version's is refused here, and not later
            stack.pop_all()
        return cls(loaded, short_path)

    @staticmethod
    def load_on(maps: Mapping[str, AnyMap]) -> Loaded:
        """Load the programs anew: on these maps, and on new ones where one is missing.

        Raises:
            KernelError: The kernel refused a program or a map.
        """
        spec = _compiled()
        return load(spec, maps={name: maps[name] for name in spec.maps if name in maps})

    @property
    def shared(self) -> Shared:
        """What its pods have in common."""
        return Shared(self.loaded, self.configurations, self.short_path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptors of programs and maps. Closing twice does nothing."""
        self.short_path.close()
        self.loaded.close()

    def enrol(
        self,
        pod: Pod,
        *,
        pins: Path | None = None,
        listeners: Sequence[Listening] = (),
        mode: PodMode = PodMode.ACTING,
    ) -> Enrolment:
        """Serve `pod` until the returned Enrolment is closed.

        Its links are pinned in `pins`, a directory that is made on a bpffs: after `keep`
        the pod stays enrolled, and `find` takes it over. `listeners` are sockets by which
        the sidecar listens already, as (family, descriptor): no program acts before they
        are known. In shadow `mode` the programs leave everything alone, and compare.

        Raises:
            MeshError: A cgroup or the namespace is missing, the pod has no address, it is
                enrolled already, a map is full, or a cgroup namespace hides where the
                sidecar's cgroup stands. Nothing has changed.
            KernelError: The kernel refused an attachment. Nothing has changed.
        """
        return _begin(Enrolment, self, pod, pins, listeners, mode)

    def find(self, pod: Pod, netns: int, pins: Path) -> Enrolment:
        """The enrolment that `keep` left: of `pod`, whose namespace has the cookie `netns`.

        Neither has to be there any more. Closing it withdraws the pod.
        """
        links = Links.found(pins)
        found = Enrolment(self.shared, pod, netns, links)
        found.resume()
        return found

    def configure(self, config: PodConfig) -> int:
        """Write a configuration, unless there is an equal one; its id.

        It stays until `release`: what is enrolled with it then needs to write nothing.

        Raises:
            MeshError: A map is full; nothing has changed.
        """
        return self.configurations.acquire(config)

    def release(self, config_id: int) -> None:
        """Give back what `configure` returned."""
        self.configurations.release(config_id)

    def forget(self, netns: int) -> None:
        """Delete a namespace's entries: whatever is attached there refuses from now on."""
        entries = Entries(self.loaded, netns)
        entries.adopt()
        pod = entries.pod
        entries.end()
        if pod is not None:
            self.configurations.withdraw(pod)

    def decisions(self, netns: int) -> dict[Decision, int]:
        """How often each decision was taken in a pod; none if it is not enrolled."""
        return Entries(self.loaded, netns).decisions()

    def rules(self, netns: int) -> dict[Rule, int]:
        """How often each rule decided in a pod."""
        return Entries(self.loaded, netns).rules()

    def aliases(self, netns: int) -> dict[str, str]:
        """Which destination each alias of a pod stands for, as Enrolment.aliases."""
        return Entries(self.loaded, netns).aliases()

    def has_listener(self, netns: int) -> bool:
        """Whether an inbound listener of a pod's sidecar is known."""
        return Entries(self.loaded, netns).listeners() > 0

    def cookies(self) -> list[int]:
        """The namespaces that are enrolled, by their cookies."""
        return list(self.loaded[state.pods])


def _load() -> Loaded:
    # Asked only where something is refused: a probe costs more than a load that works.
    try:
        return load(_compiled())
    except KernelError:
        features.program_type(ProgramKind.SK_LOOKUP).require()
        cookie = features.helper("get_netns_cookie", ProgramKind.SOCK_OPS)
        cookie._replace(since="5.15").require()  # for other kinds it is older
        raise


class _Alone(Enrolment):
    # One pod with programs of its own.

    def close(self) -> None:
        super().close()
        self._short_path.close()
        self._loaded.close()


def enrol(pod: Pod) -> Enrolment:
    """Serve `pod`, by programs of its own, until the returned Enrolment is closed.

    Raises:
        MeshError: As for `Node.enrol`.
        KernelError: The kernel refused a program, a map or an attachment.
    """
    pod.check()
    node = Node.load()
    try:
        return _begin(_Alone, node, pod, None, ())
    except BaseException:
        node.close()
        raise


def _begin(
    kind: type[Enrolment],
    node: Node,
    pod: Pod,
    pins: Path | None,
    listeners: Sequence[Listening],
    mode: PodMode = PodMode.ACTING,
) -> Enrolment:
    with Network.of(pod.netns) as network:
        if network.cookie in node.loaded[state.pods]:
            raise MeshError(f"the pod of {pod.netns} is enrolled already")
        links = Links.made(pins)
        made = kind(node.shared, pod, network.cookie, links)
        try:
            alone = mode == PodMode.ACTING
            plumbing.arrange(network, pod.netns, pod.config, alone=alone)
            made.begin(read(network, pod), listeners, mode)
        except BaseException:
            made.undo()
            raise
        return made


@cache
def _compiled() -> Collection:
    """The programs, compiled once a process: every node loads the same."""
    return collect(PROGRAMS, name=NAME, target=running())
