"""The kernel's functions and variables, as a module of programs declares them.

    @kfunc
    def bpf_task_from_pid(pid: i32) -> task_struct | None: ...
    @kfunc
    def bpf_task_release(p: task_struct) -> None: ...

    jiffies = Ksym[u64]("jiffies")

They are looked up when a program is loaded, and compared with the kernel's types.
"""

from beewire.bpf.lang.contexts import outside
from beewire.bpf.lang.decl import Symbol
from beewire.errors import SpecError
from beewire.hints import (
    Any,
    Callable,
    FunctionType,
    Generic,
    NoReturn,
    TypeVar,
    overload,
)

F = TypeVar("F", bound=Callable[..., Any])
V = TypeVar("V")

# What gives back what a function acquires (KF_ACQUIRE, KF_RELEASE): the kernel's BTF does
# not say. Linux 6.18.
_RELEASES = """
bpf_task_acquire bpf_task_release
bpf_task_from_pid bpf_task_release
bpf_task_from_vpid bpf_task_release
bpf_cgroup_acquire bpf_cgroup_release
bpf_cgroup_ancestor bpf_cgroup_release
bpf_cgroup_from_id bpf_cgroup_release
bpf_task_get_cgroup1 bpf_cgroup_release
scx_bpf_task_cgroup bpf_cgroup_release
bpf_cpumask_create bpf_cpumask_release
bpf_cpumask_acquire bpf_cpumask_release
bpf_get_task_exe_file bpf_put_file
bpf_xdp_ct_lookup bpf_ct_release
bpf_skb_ct_lookup bpf_ct_release
bpf_ct_insert_entry bpf_ct_release
bpf_crypto_ctx_create bpf_crypto_ctx_release
bpf_crypto_ctx_acquire bpf_crypto_ctx_release
bpf_xdp_get_xfrm_state bpf_xdp_xfrm_state_release
bpf_lookup_user_key bpf_key_put
bpf_lookup_system_key bpf_key_put
hid_bpf_allocate_context hid_bpf_release_context
"""


class Kfunc(Symbol):
    """A function of the kernel that programs may call.

    `released_by` is the function that takes back what this one returns, "" for none.
    """

    def __init__(self, function: FunctionType, released_by: str) -> None:
        self.function = self.__wrapped__ = function
        # `bpf_task_acquire___old` is a flavour of that function.
        self.name = self.__name__ = function.__name__
        self.__doc__ = function.__doc__
        self.released_by = released_by or _known_release(function.__name__)

    @property
    def releases(self) -> bool:
        """Whether it takes back what another function returned."""
        plain = self.name.partition("___")[0]
        return f" {plain}\n" in _RELEASES or plain in _declared_releases

    def __call__(self, *arguments: object) -> NoReturn:
        """Refuse: it runs in the kernel."""
        del arguments
        outside(self.name)

    def __repr__(self) -> str:
        return f"<kernel function {self.name}>"


_declared_releases: set[str] = set()


def _known_release(name: str) -> str:
    start = _RELEASES.find(f"\n{name.partition('___')[0]} ")
    if start < 0:
        return ""
    return _RELEASES[start + 1 : _RELEASES.index("\n", start + 1)].split(" ")[1]


@overload
def kfunc(function: F) -> F: ...
@overload
def kfunc(*, released_by: Callable[..., object] | None = None) -> Callable[[F], F]: ...
def kfunc(
    function: Any = None, *, released_by: Callable[..., object] | None = None
) -> Any:
    """Declare a function of the kernel (a kfunc); its body is `...`.

        @kfunc
        def bpf_task_from_pid(pid: i32) -> task_struct | None: ...

    Parameters are integer types, Kernel classes, contexts, Structs (a pointer to one),
    `str` (a constant text) or `object` (memory). What it returns with a reference has to
    be given back: `released_by` says by which function where Beewire does not know.

    Raises:
        SpecError: It is no function.
    """
    if function is None:
        taker = getattr(released_by, "__name__", "")
        if taker:
            _declared_releases.add(taker.partition("___")[0])
        return lambda marked: _kfunc(marked, taker)
    return _kfunc(function, "")


def _kfunc(function: object, released_by: str) -> Kfunc:
    if not isinstance(function, FunctionType):
        raise SpecError(f"@kfunc marks a function; {function!r} is none")
    return Kfunc(function, released_by)


class Ksym(Symbol, Generic[V]):
    """A variable of the kernel: `jiffies = Ksym[u64]("jiffies")`.

    `jiffies.value` reads an integer, `init_task.value.pid` a field of a Kernel class. With `per_cpu`
    each CPU has one: `here()` is that of the running CPU, `on_cpu(n)` that of another,
    or None. `Ksym[None]("name")` has an address only.
    """

    value: V

    def __init__(self, name: str, *, per_cpu: bool = False) -> None:
        self.name = name
        self.per_cpu = per_cpu

    @property
    def type(self) -> Any:
        """What was given in brackets.

        Raises:
            SpecError: Nothing was.
        """
        given = getattr(self, "__orig_class__", None)
        if given is None:
            raise SpecError(f'write Ksym[u64]("{self.name}") with a type')
        return given.__args__[0]

    def here(self) -> V:
        """In programs: the running CPU's (`bpf_this_cpu_ptr`, Linux 5.10)."""
        outside("here")

    def on_cpu(self, cpu: int) -> V | None:  # noqa: ARG002
        """In programs: that of a CPU, None when there is no such (`bpf_per_cpu_ptr`)."""
        outside("on_cpu")

    def address(self) -> int:
        """In programs: where it lies."""
        outside("address")

    def __repr__(self) -> str:
        return f"<kernel variable {self.name}>"
