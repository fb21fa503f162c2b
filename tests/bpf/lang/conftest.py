"""Programs from text: the source stands in the test, the compiler finds it as a cell's."""

import itertools
import linecache
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from beewire.bpf import ir
from beewire.bpf.lang import compile_program, lay_out_globals
from beewire.errors import CompileError, Diagnostic

PRELUDE = """\
from enum import IntEnum
from beewire.bpf.lang import *
from beewire.bpf.lang import helpers
from beewire.bpf.lang.calls import *
from beewire.bpf.lang.constants import *
from beewire.bpf.lang.constants import *
from beewire.bpf.lang.contexts import *
from beewire.bpf.lang.socket_contexts import *
from beewire.bpf.lang.decl import K, V
from beewire.bpf.object.kinds import MapKind, ProgramKind

class HashMap(Keyed[K, V]):
    kind = MapKind.HASH
class Array(Keyed[K, V]):
    kind = MapKind.ARRAY
class PerCpuArray(Keyed[K, V]):
    kind = MapKind.PERCPU_ARRAY
class RingBuf(Ring[V]):
    pass
class SkStorage(Storage[V]):
    pass
class SockHash(Sockets[K]):
    kind = MapKind.SOCKHASH
class SockMap(Sockets[K]):
    kind = MapKind.SOCKMAP

class Color(IntEnum):
    RED = 1
    BLUE = 2
class Inner(Struct):
    low: u16
    high: u16
class Key(Struct):
    cookie: u64
    port: u32
    addr: list[u32] = array(u32, 4)
class Record(Struct):
    pid: u32
    flag: bool
    delta: i32
    ns: u64
    comm: str = chars(16)
    inner: Inner
    words: list[u32] = array(u32, 4)
class task_struct(Kernel):
    real_parent: "task_struct"
    tgid: i32
    comm: str = chars(16)
class sched_process_fork(Tracepoint):
    parent_pid: i32
    child_pid: i32

table = HashMap[u32, u64](16)
keyed = HashMap[Key, u64](16)
records = HashMap[u32, Record](16)
flags = HashMap[u32, u16](16)
per_cpu = PerCpuArray[u32, u64](4)
slots = Array[u32, u64](4)
marks = PerCpuArray[u32, bool](4)
events = RingBuf[Record](4096)
state = SkStorage[Record]()
socks = SockHash[Key](16)
sock_map = SockMap[u32](16)
limit = Global(u32, 7)
settings = Global(Inner)
PORTS = (80, 443)
TABLE = [1, 2, 3]
SIZE = 300
RATIO = 0.5
NAME = "beewire"

def hook(kind, context, neutral=0, section="hook"):
    def decorate(function):
        return ProgramDecl(
            function, kind=kind, section=section, context=context, neutral=neutral
        )
    return decorate

xdp = hook(ProgramKind.XDP, XdpContext, 2, "xdp")
tracepoint = hook(ProgramKind.TRACEPOINT, Tracepoint)
raw_tracepoint = hook(ProgramKind.RAW_TRACEPOINT, RawTracepoint)
connect4 = hook(ProgramKind.CGROUP_SOCK_ADDR, SockAddr, 1, "cgroup/connect4")
getsockopt = hook(ProgramKind.CGROUP_SOCKOPT, SockOpt, 1)
sock_ops = hook(ProgramKind.SOCK_OPS, SockOps, 1)
sk_msg = hook(ProgramKind.SK_MSG, SkMsg, 1)
sk_lookup = hook(ProgramKind.SK_LOOKUP, SkLookup, 1)
"""

_numbers = itertools.count()


def run(text: str) -> dict[str, Any]:
    """Run the prelude and `text` as one cell; the names that it defines."""
    filename = f"<case {next(_numbers)}>"
    source = PRELUDE + text
    lines = source.splitlines(keepends=True)
    linecache.cache[filename] = (len(source), None, lines, filename)
    names: dict[str, Any] = {"__name__": "case"}
    exec(compile(source, filename, "exec"), names)
    lay_out_globals({name: names[name] for name in ("limit", "settings")})
    return names


@pytest.fixture
def cell() -> Callable[[str], SimpleNamespace]:
    """Run source text; what it defines, by attribute."""
    return lambda text: SimpleNamespace(**run(text))


@pytest.fixture
def compiled() -> Callable[[str], str]:
    """Compile the program called `program`; its IR as text."""

    def compile_(text: str) -> str:
        function = compile_program(run(text)["program"])
        ir.check(function)
        return ir.format_function(function)

    return compile_


@pytest.fixture
def refused() -> Callable[[str], tuple[Diagnostic, ...]]:
    """Compile the program called `program`, which must be refused; its faults."""

    def compile_(text: str) -> tuple[Diagnostic, ...]:
        with pytest.raises(CompileError) as caught:
            compile_program(run(text)["program"])
        return caught.value.diagnostics

    return compile_
