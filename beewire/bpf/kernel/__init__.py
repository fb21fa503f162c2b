"""Programs and maps in the running kernel: the only room that makes system calls.

    with load(spec) as loaded:
        with attach_tracepoint(loaded.programs["on_exec"], "sched", "sched_process_exec"):
            for record in RingReader(loaded.maps["events"], bytes):
                print(record)

load       ObjectSpec -> Loaded: types, maps, relocations, programs
loaded     Loaded, and the data sections of it (section)
program    Program: run it once, ask about it, pin it
maps       Map and its families: mutable mappings
ring       RingReader: the records of a ring buffer (perf, user_ring: their kin; reader,
           runs, fence: what they share)
links      attach_*: Program -> Link
pins       names under a BPF file system
places     names of cgroups, namespaces and interfaces
features   what this kernel can do, found out by trying
inspection what runs in the kernel, whoever loaded it (ids, statistics)
inspect    a loaded program as text (jited: its machine code)
probed     the running kernel as the compiler's Target
target     the running kernel's types (btf_cache)
verdict    a refusal in the author's words (log, advice, explain, privilege)
syscall    bpf(2) itself (attr: its structures)
"""

from beewire.bpf.kernel.load import load
from beewire.bpf.kernel.loaded import Loaded
from beewire.bpf.kernel.maps import AnyCodec, AnyMap, Map, MapCodec, default_codec
from beewire.bpf.kernel.program import Program, TestRun
from beewire.bpf.kernel.section import Section
from beewire.bpf.kernel.target import Target
from beewire.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from beewire.bpf.kernel.binaries import split_place
    from beewire.bpf.kernel.btf_cache import kernel_index
    from beewire.bpf.kernel.features import Feature
    from beewire.bpf.kernel.info import ProgramInfo
    from beewire.bpf.kernel.ksyms import check_externs
    from beewire.bpf.kernel.links.auto import Links, attach, attach_all
    from beewire.bpf.kernel.links.base import Link, LinkKind
    from beewire.bpf.kernel.links.cgroup import attach_cgroup
    from beewire.bpf.kernel.links.event import EventLink
    from beewire.bpf.kernel.links.info import LinkInfo
    from beewire.bpf.kernel.links.iterator import (
        IteratorLink,
        attach_iterator,
        read_iterator,
    )
    from beewire.bpf.kernel.links.kprobe import attach_kprobe, attach_ksyscall
    from beewire.bpf.kernel.links.lirc import attach_lirc
    from beewire.bpf.kernel.links.lwt import attach_route
    from beewire.bpf.kernel.links.multi import (
        MultiLink,
        attach_kprobe_multi,
        attach_uprobe_multi,
    )
    from beewire.bpf.kernel.links.netfilter import attach_netfilter
    from beewire.bpf.kernel.links.netns import attach_netns
    from beewire.bpf.kernel.links.order import LinkId, ProgramId
    from beewire.bpf.kernel.links.perf_event import Sampling, attach_perf_event
    from beewire.bpf.kernel.links.raw_tracepoint import (
        attach_freplace,
        attach_raw_tracepoint,
        attach_tracing,
    )
    from beewire.bpf.kernel.links.socket import attach_reuseport, attach_socket_filter
    from beewire.bpf.kernel.links.sockmap import attach_sockmap
    from beewire.bpf.kernel.links.struct_ops import attach_struct_ops
    from beewire.bpf.kernel.links.tcx import attach_tcx
    from beewire.bpf.kernel.links.tracepoint import attach_tracepoint, tracepoint_id
    from beewire.bpf.kernel.links.uprobe import attach_uprobe
    from beewire.bpf.kernel.links.usdt import attach_usdt
    from beewire.bpf.kernel.links.usdt_maps import attach_usdt_by_maps
    from beewire.bpf.kernel.links.xdp import XdpMode, attach_xdp
    from beewire.bpf.kernel.links.xdp_chain import XdpChain
    from beewire.bpf.kernel.maps import HasFileno
    from beewire.bpf.kernel.maps.percpu import possible_cpus
    from beewire.bpf.kernel.perf import PerfReader
    from beewire.bpf.kernel.pins import ensure_bpffs, is_bpffs
    from beewire.bpf.kernel.places import cgroup2_mount
    from beewire.bpf.kernel.probed import running
    from beewire.bpf.kernel.reader import Counts, Reader
    from beewire.bpf.kernel.ring import RingReader
    from beewire.bpf.kernel.runs import Decoding
    from beewire.bpf.kernel.user_ring import UserRing

_LAZY = {
    "Counts": "reader",
    "Decoding": "runs",
    "Feature": "features",
    "IteratorLink": "links.iterator",
    "Link": "links.base",
    "LinkInfo": "links.info",
    "LinkId": "links.order",
    "LinkKind": "links.base",
    "MultiLink": "links.multi",
    "ProgramId": "links.order",
    "HasFileno": "maps",
    "ProgramInfo": "info",
    "EventLink": "links.event",
    "PerfReader": "perf",
    "Reader": "reader",
    "RingReader": "ring",
    "Sampling": "links.perf_event",
    "UserRing": "user_ring",
    "XdpChain": "links.xdp_chain",
    "XdpMode": "links.xdp",
    "Links": "links.auto",
    "attach": "links.auto",
    "attach_all": "links.auto",
    "attach_cgroup": "links.cgroup",
    "attach_freplace": "links.raw_tracepoint",
    "attach_iterator": "links.iterator",
    "attach_kprobe": "links.kprobe",
    "attach_kprobe_multi": "links.multi",
    "attach_ksyscall": "links.kprobe",
    "attach_lirc": "links.lirc",
    "attach_netfilter": "links.netfilter",
    "attach_netns": "links.netns",
    "attach_perf_event": "links.perf_event",
    "attach_raw_tracepoint": "links.raw_tracepoint",
    "attach_reuseport": "links.socket",
    "attach_route": "links.lwt",
    "attach_socket_filter": "links.socket",
    "attach_sockmap": "links.sockmap",
    "attach_struct_ops": "links.struct_ops",
    "attach_tcx": "links.tcx",
    "attach_tracepoint": "links.tracepoint",
    "attach_tracing": "links.raw_tracepoint",
    "attach_uprobe": "links.uprobe",
    "attach_uprobe_multi": "links.multi",
    "attach_usdt": "links.usdt",
    "attach_usdt_by_maps": "links.usdt_maps",
    "attach_xdp": "links.xdp",
    "cgroup2_mount": "places",
    "check_externs": "ksyms",
    "ensure_bpffs": "pins",
    "is_bpffs": "pins",
    "kernel_index": "btf_cache",
    "possible_cpus": "maps.percpu",
    "running": "probed",
    "read_iterator": "links.iterator",
    "split_place": "binaries",
    "tracepoint_id": "links.tracepoint",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Not by importlib, whose own import takes 0.4 ms.
    home = __import__(f"{__name__}.{_LAZY[name]}", fromlist=(name,))
    globals()[name] = value = getattr(home, name)
    return value


__all__ = [
    "AnyCodec",
    "AnyMap",
    "Counts",
    "Decoding",
    "EventLink",
    "Feature",
    "HasFileno",
    "IteratorLink",
    "Link",
    "LinkId",
    "LinkInfo",
    "LinkKind",
    "Links",
    "Loaded",
    "Map",
    "MapCodec",
    "MultiLink",
    "PerfReader",
    "Program",
    "ProgramId",
    "ProgramInfo",
    "Reader",
    "RingReader",
    "Sampling",
    "Section",
    "Target",
    "TestRun",
    "UserRing",
    "XdpChain",
    "XdpMode",
    "attach",
    "attach_all",
    "attach_cgroup",
    "attach_freplace",
    "attach_iterator",
    "attach_kprobe",
    "attach_kprobe_multi",
    "attach_ksyscall",
    "attach_lirc",
    "attach_netfilter",
    "attach_netns",
    "attach_perf_event",
    "attach_raw_tracepoint",
    "attach_reuseport",
    "attach_route",
    "attach_socket_filter",
    "attach_sockmap",
    "attach_struct_ops",
    "attach_tcx",
    "attach_tracepoint",
    "attach_tracing",
    "attach_uprobe",
    "attach_uprobe_multi",
    "attach_usdt",
    "attach_usdt_by_maps",
    "attach_xdp",
    "cgroup2_mount",
    "check_externs",
    "default_codec",
    "ensure_bpffs",
    "is_bpffs",
    "kernel_index",
    "load",
    "possible_cpus",
    "read_iterator",
    "running",
    "split_place",
    "tracepoint_id",
]
