"""Objects of the kernel inside values: locks, timers, lists, trees, pointers.

    class Session(Struct):
        lock: SpinLock
        timer: Timer
        owner: Kptr[task_struct]

The kernel looks after them: user space neither sees nor sets them, and values that have
one lie in maps. In BTF they bear the names by which the kernel knows them.
"""

from beewire.bpf.lang.calls import builtin
from beewire.bpf.lang.composites import Composite, StructType
from beewire.bpf.lang.contexts import outside
from beewire.bpf.lang.structs import Kernel
from beewire.bpf.lang.types import ObjectType
from beewire.errors import SpecError
from beewire.hints import TYPE_CHECKING, Any, Callable, ClassVar, Generic, TypeVar

N = TypeVar("N", bound=Composite)
T = TypeVar("T")


class RootType(ObjectType):
    """The head of a list, or the root of a tree, of structs of `node` by its `link`."""

    __slots__ = ("link", "node")

    def __init__(
        self, name: str, noun: str, node: type[Composite], member: ObjectType
    ) -> None:
        super().__init__(name, 16, 8, noun)
        layout = getattr(node, "__layout__", None)
        if not isinstance(layout, StructType):
            raise SpecError(f"{noun} is of structs, not of {node!r}")
        links = [each for each in layout.fields.values() if each.type is member]
        if len(links) != 1:
            raise SpecError(
                f"{noun} of {node.__name__}: it has {len(links)} fields that are "
                f"{member.noun}, and needs one"
            )
        self.node = layout
        self.link = links[0]


class KptrType(ObjectType):
    """A pointer to `to`, a Kernel class or a Struct, that the kernel counts."""

    __slots__ = ("to",)

    def __init__(self, to: Any) -> None:
        if not (isinstance(to, type) and issubclass(to, Kernel | Composite)):
            raise SpecError(f"a Kptr points to a Kernel class or a Struct, not {to!r}")
        super().__init__(f"{to.__name__} *", 8, 8, f"a pointer to {to.__name__}")
        self.to = to


@builtin
def obj_new(type: type[N]) -> N | None:  # noqa: A002, ARG001 - what is made
    """A new struct, to be given back or put into a list, a tree or a Kptr (Linux 6.2).

    None without memory. Fields that are not assigned hold what was there before.
    """
    outside("obj_new")


@builtin
def obj_drop(node: object) -> None:  # noqa: ARG001
    """Give back what `obj_new` made, or what came out of a list or a tree."""
    outside("obj_drop")


class InValue:
    """An object of the kernel in a value; the instance says "may be left out"."""

    __layout__: ClassVar[ObjectType]

    def __bool__(self) -> bool:
        return False


class SpinLock(InValue):
    """`struct bpf_spin_lock`: held by `with lock(value):` (Linux 5.1)."""

    __layout__ = ObjectType("bpf_spin_lock", 4, 4, "a lock")


class Timer(InValue):
    """`struct bpf_timer`: calls a function later (Linux 5.15).

        session.timer.init()
        session.timer.set_callback(expired)
        session.timer.start(1_000_000_000)

    `def expired(key: u32, value: Session) -> None`. Each gives 0, or a negative error.
    """

    __layout__ = ObjectType("bpf_timer", 16, 8, "a timer")

    def init(self, clock: int = 1) -> int:  # noqa: ARG002
        """Make it ready, on CLOCK_MONOTONIC (1); -EBUSY (-16) when it is."""
        outside("init")

    def set_callback(self, callback: Callable[..., None]) -> int:  # noqa: ARG002
        """What it calls, with the key and the value that it lies in."""
        outside("set_callback")

    def start(self, nanoseconds: int, flags: int = 0) -> int:  # noqa: ARG002
        """Call in so many nanoseconds; with flag 1 at that time of the clock."""
        outside("start")

    def cancel(self) -> int:
        """Do not call: 1 when it would have, 0 when not."""
        outside("cancel")


class WorkQueue(InValue):
    """`struct bpf_wq`: calls a function soon, where it may sleep (Linux 6.10).

    session.work.init()
    session.work.set_callback(clean_up)
    session.work.start()
    """

    __layout__ = ObjectType("bpf_wq", 16, 8, "a work queue")

    def init(self) -> int:
        """Make it ready; -EBUSY (-16) when it is."""
        outside("init")

    def set_callback(self, callback: Callable[..., None]) -> int:  # noqa: ARG002
        """What it calls, with the key and the value that it lies in."""
        outside("set_callback")

    def start(self) -> int:
        """Call it soon."""
        outside("start")


class ListNode(InValue):
    """`struct bpf_list_node`: what a struct in a list is linked by (Linux 6.2)."""

    __layout__ = ObjectType("bpf_list_node", 24, 8, "a ListNode")


class RbNode(InValue):
    """`struct bpf_rb_node`: what a struct in a tree is linked by (Linux 6.3)."""

    __layout__ = ObjectType("bpf_rb_node", 32, 8, "an RbNode")


if TYPE_CHECKING:

    class ListHead(InValue, Generic[N]):
        """`struct bpf_list_head`: a list of structs that `obj_new` made (Linux 6.2).

        It is used under the lock of the value that it lies in.
        """

        def push_front(self, node: N) -> int:
            """Put `node` first; the list owns it from now on."""

        def push_back(self, node: N) -> int:
            """Put `node` last; the list owns it from now on."""

        def pop_front(self) -> N | None:
            """Take the first one out, if there is one: to be given back."""

        def pop_back(self) -> N | None:
            """Take the last one out, if there is one: to be given back."""

    class RbRoot(InValue, Generic[N]):
        """`struct bpf_rb_root`: structs that `obj_new` made, in order (Linux 6.3).

        It is used under the lock of the value that it lies in.
        """

        def add(self, node: N, less: Callable[[N, N], bool]) -> int:
            """Put `node` in by `less(a, b)`; the tree owns it from now on."""

        def first(self) -> N | None:
            """The least one, which stays in the tree."""

        def remove(self, node: N) -> N | None:
            """Take one out that `first` gave: to be given back."""

    class Kptr(InValue, Generic[T]):
        """A counted pointer to an object, which the value keeps alive (Linux 5.19)."""

        def xchg(self, new: T | None) -> T | None:
            """Put `new` there, which the value owns from now on; get what was there."""

        def read(self) -> T | None:
            """What is there, in `with rcu():`: good until the block ends."""

else:

    class ListHead(InValue):
        """`struct bpf_list_head`."""

        def __class_getitem__(cls, node: type) -> RootType:
            return RootType("bpf_list_head", "a list", node, ListNode.__layout__)

    class RbRoot(InValue):
        """`struct bpf_rb_root`."""

        def __class_getitem__(cls, node: type) -> RootType:
            return RootType("bpf_rb_root", "a tree", node, RbNode.__layout__)

    class Kptr(InValue):
        """A counted pointer."""

        def __class_getitem__(cls, to: type) -> KptrType:
            return KptrType(to)
