"""The toolkit: eBPF programs in Python. Knows nothing of meshes.

    from beewire.bpf import HashMap, Tracepoint, current_tgid, tracepoint, u32, u64

    calls = HashMap[u32, u64](max_entries=1024)

    @tracepoint("raw_syscalls:sys_enter")
    def on_call(ctx: Tracepoint) -> None:
        calls[current_tgid()] += 1

    with on_call.attach():
        input("counting system calls; Enter ends it ")
    print(dict(calls))

What a program's author imports comes from here, and is loaded when it is first named.
The rooms behind it, each above the next:

    author     the surface: types, maps, decorators, helpers, attach()
    kernel     bpf(2): load programs, read maps, hold links
    lang       Python source -> typed IR
    codegen    typed IR -> instructions
    ir         the typed IR and its checks
    object     ObjectSpec, and the .o files that it becomes
    btf        type information
    isa        instructions: encode, decode, print, parse
"""

from beewire.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from beewire.bpf.author import *  # noqa: F403 - everything there is public here

# Importing a room must not load the rooms above it.
_ROOMS = {
    "author", "kernel", "vm", "verifier", "lang", "codegen", "ir", "object", "btf", "isa"
}  # fmt: skip


def __getattr__(name: str) -> object:
    if name == "__all__" or not (name in _ROOMS or name.startswith("_")):
        from beewire.bpf import author  # noqa: PLC0415 - nobody pays before using it

        if name == "__all__" or name in author.__all__:
            globals()[name] = value = getattr(author, name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    from beewire.bpf import author  # noqa: PLC0415 - as above

    return sorted({*globals(), *author.__all__})
