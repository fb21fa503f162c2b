"""The surface: what an author of programs writes, and what becomes of it when it runs.

    hooks       the decorators: @tracepoint(...), @connect4, @xdp, ...
    signature   whether a function can be a program
    program     Program: attach(), spec(), disassemble(); a class for each kind of target
    maps        HashMap, Array, LpmTrie and their kin
    ring        RingBuf
    sockets     SockMap, SockHash, ReusePortSockArray
    storage     SkStorage, TaskStorage, InodeStorage, CgroupStorage
    queues      Queue, Stack, BloomFilter
    redirects   DevMap, DevMapHash, CpuMap, XskMap
    events      PerfEventArray, StackTrace, CgroupArray
    nested      ArrayOfMaps, HashOfMaps, ProgArray
    user_ring   UserRingBuf
    variable    Global, Const, PerCpuGlobal
    collection  programs -> ObjectSpec, with the maps and globals that they use
    loaded      load(): any number of Loaded from one module, side by side
    prepared    programs that were compiled elsewhere (skeleton: how such modules are made)
    home        which declaration became what in the kernel
    bound       the way from a declared object to its Home
    garbage     no garbage collection while programs are compiled
    interrupt   Ctrl-C as the end of a loop over records
    codec       bytes <-> Python values

Types, contexts and helper functions come from `lang`, and are handed on here. A name is
imported when it is first asked for.
"""

from beewire.bpf.author.garbage import Paused
from beewire.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from beewire.bpf.author.collection import collect
    from beewire.bpf.author.events import CgroupArray, PerfEventArray, StackTrace
    from beewire.bpf.author.hooks import (
        bind4,
        bind6,
        cgroup_skb_egress,
        cgroup_skb_ingress,
        cgroup_sock_create,
        cgroup_sock_release,
        connect4,
        connect6,
        getpeername4,
        getpeername6,
        getsockname4,
        getsockname6,
        getsockopt,
        raw_tracepoint,
        recvmsg4,
        recvmsg6,
        sendmsg4,
        sendmsg6,
        setsockopt,
        sk_lookup,
        sk_msg,
        sock_ops,
        tracepoint,
        xdp,
    )
    from beewire.bpf.author.loaded import Loaded, load
    from beewire.bpf.author.maps import (
        Array,
        HashMap,
        LpmTrie,
        LruHash,
        LruPerCpuHash,
        PerCpu,
        PerCpuArray,
        PerCpuHash,
    )
    from beewire.bpf.author.nested import ArrayOfMaps, HashOfMaps, ProgArray
    from beewire.bpf.author.prepared import prebuilt
    from beewire.bpf.author.program import Program
    from beewire.bpf.author.queues import BloomFilter, Queue, Stack
    from beewire.bpf.author.redirects import (
        CpuMap,
        DevMap,
        DevMapHash,
        Port,
        Worker,
        XskMap,
    )
    from beewire.bpf.author.ring import RingBuf
    from beewire.bpf.author.sockets import ReusePortSockArray, SockHash, SockMap
    from beewire.bpf.author.storage import (
        CgroupStorage,
        InodeStorage,
        SkStorage,
        TaskStorage,
    )
    from beewire.bpf.author.user_ring import UserRingBuf
    from beewire.bpf.author.variable import Const, Global, PerCpuGlobal
    from beewire.bpf.lang import (
        Kernel,
        Ref,
        Struct,
        Union,
        World,
        array,
        be16,
        be32,
        be64,
        bits,
        chars,
        embedded,
        evaluate,
        field,
        helpers,
        i8,
        i16,
        i32,
        i64,
        overlay,
        u8,
        u16,
        u32,
        u64,
    )
    from beewire.bpf.lang.calls import (
        ancestor_cgroup_id,
        bind,
        bswap64,
        cpu_id,
        current,
        current_cgroup_id,
        current_comm,
        current_gid,
        current_pid,
        current_pid_tgid,
        current_tgid,
        current_uid,
        get_retval,
        goto,
        htonl,
        htons,
        ip4,
        jiffies,
        kernel_ptr,
        ktime_boot_ns,
        ktime_coarse_ns,
        ktime_ns,
        loop,
        netns_cookie,
        ntohl,
        ntohs,
        numa_node_id,
        printk,
        random_u32,
        redirect,
        send_signal,
        set_retval,
        sizeof,
        sk_assign,
        sk_cgroup_id,
        sk_fullsock,
        sk_lookup_tcp,
        sk_lookup_udp,
        sk_release,
        skb_cgroup_id,
        sock_ops_cb_flags_set,
        socket_cookie,
        socket_uid,
    )
    from beewire.bpf.lang.constants import (
        SkAction,
        SockOp,
        SockOpsFlag,
        TcpState,
        XdpAction,
    )
    from beewire.bpf.lang.contexts import (
        BpfSock,
        RawTracepoint,
        SkBuff,
        SkLookup,
        SkMsg,
        SockAddr,
        SockOps,
        SockOpt,
        Tracepoint,
        XdpContext,
    )
    from beewire.bpf.lang.decl import PerfCounter
    from beewire.bpf.lang.marks import inline, subprogram
    from beewire.bpf.object import Target

__all__ = [
    "Array",
    "ArrayOfMaps",
    "BloomFilter",
    "BpfSock",
    "CgroupArray",
    "CgroupStorage",
    "Const",
    "CpuMap",
    "DevMap",
    "DevMapHash",
    "Global",
    "HashMap",
    "HashOfMaps",
    "InodeStorage",
    "Kernel",
    "Loaded",
    "LpmTrie",
    "LruHash",
    "LruPerCpuHash",
    "PerCpu",
    "PerCpuArray",
    "PerCpuGlobal",
    "PerCpuHash",
    "PerfCounter",
    "PerfEventArray",
    "Port",
    "ProgArray",
    "Program",
    "Queue",
    "RawTracepoint",
    "Ref",
    "ReusePortSockArray",
    "RingBuf",
    "SkAction",
    "SkBuff",
    "SkLookup",
    "SkMsg",
    "SkStorage",
    "SockAddr",
    "SockHash",
    "SockMap",
    "SockOp",
    "SockOps",
    "SockOpsFlag",
    "SockOpt",
    "Stack",
    "StackTrace",
    "Struct",
    "Target",
    "TaskStorage",
    "TcpState",
    "Tracepoint",
    "Union",
    "UserRingBuf",
    "Worker",
    "World",
    "XdpAction",
    "XdpContext",
    "XskMap",
    "ancestor_cgroup_id",
    "array",
    "be16",
    "be32",
    "be64",
    "bind",
    "bind4",
    "bind6",
    "bits",
    "bswap64",
    "cgroup_skb_egress",
    "cgroup_skb_ingress",
    "cgroup_sock_create",
    "cgroup_sock_release",
    "chars",
    "collect",
    "connect4",
    "connect6",
    "cpu_id",
    "current",
    "current_cgroup_id",
    "current_comm",
    "current_gid",
    "current_pid",
    "current_pid_tgid",
    "current_tgid",
    "current_uid",
    "embedded",
    "evaluate",
    "field",
    "get_retval",
    "getpeername4",
    "getpeername6",
    "getsockname4",
    "getsockname6",
    "getsockopt",
    "goto",
    "helpers",
    "htonl",
    "htons",
    "i8",
    "i16",
    "i32",
    "i64",
    "inline",
    "ip4",
    "jiffies",
    "kernel_ptr",
    "ktime_boot_ns",
    "ktime_coarse_ns",
    "ktime_ns",
    "load",
    "loop",
    "netns_cookie",
    "ntohl",
    "ntohs",
    "numa_node_id",
    "overlay",
    "prebuilt",
    "printk",
    "random_u32",
    "raw_tracepoint",
    "recvmsg4",
    "recvmsg6",
    "redirect",
    "send_signal",
    "sendmsg4",
    "sendmsg6",
    "set_retval",
    "setsockopt",
    "sizeof",
    "sk_assign",
    "sk_cgroup_id",
    "sk_fullsock",
    "sk_lookup",
    "sk_lookup_tcp",
    "sk_lookup_udp",
    "sk_msg",
    "sk_release",
    "skb_cgroup_id",
    "sock_ops",
    "sock_ops_cb_flags_set",
    "socket_cookie",
    "socket_uid",
    "subprogram",
    "tracepoint",
    "u8",
    "u16",
    "u32",
    "u64",
    "xdp",
]

_HOMES = {
    "beewire.bpf.author.collection": "collect",
    "beewire.bpf.author.prepared": "prebuilt",
    "beewire.bpf.author.hooks": (
        "bind4 bind6 cgroup_skb_egress cgroup_skb_ingress cgroup_sock_create "
        "cgroup_sock_release connect4 connect6 getpeername4 getpeername6 getsockname4 "
        "getsockname6 getsockopt raw_tracepoint recvmsg4 recvmsg6 sendmsg4 sendmsg6 "
        "setsockopt sk_lookup sk_msg sock_ops tracepoint xdp"
    ),
    "beewire.bpf.author.loaded": "Loaded load",
    "beewire.bpf.author.maps": (
        "Array HashMap LpmTrie LruHash LruPerCpuHash PerCpu PerCpuArray PerCpuHash"
    ),
    "beewire.bpf.author.program": "Program",
    "beewire.bpf.author.ring": "RingBuf",
    "beewire.bpf.author.sockets": "ReusePortSockArray SockHash SockMap",
    "beewire.bpf.author.events": "CgroupArray PerfEventArray StackTrace",
    "beewire.bpf.author.nested": "ArrayOfMaps HashOfMaps ProgArray",
    "beewire.bpf.author.queues": "BloomFilter Queue Stack",
    "beewire.bpf.author.redirects": "CpuMap DevMap DevMapHash Port Worker XskMap",
    "beewire.bpf.author.storage": "CgroupStorage InodeStorage SkStorage TaskStorage",
    "beewire.bpf.author.user_ring": "UserRingBuf",
    "beewire.bpf.author.variable": "Const Global PerCpuGlobal",
    "beewire.bpf.object": "Target",
    "beewire.bpf.lang": (
        "helpers Kernel Ref Struct Union World array be16 be32 be64 bits chars embedded "
        "evaluate field i8 i16 i32 i64 overlay u8 u16 u32 u64"
    ),
    "beewire.bpf.lang.decl": "PerfCounter",
    "beewire.bpf.lang.calls": (
        "goto ancestor_cgroup_id bind bswap64 cpu_id current current_cgroup_id "
        "current_comm current_gid current_pid current_pid_tgid current_tgid "
        "current_uid get_retval htonl htons ip4 jiffies kernel_ptr ktime_boot_ns "
        "ktime_coarse_ns ktime_ns loop netns_cookie ntohl ntohs numa_node_id printk "
        "random_u32 redirect send_signal set_retval sizeof sk_assign sk_cgroup_id "
        "sk_fullsock sk_lookup_tcp sk_lookup_udp sk_release skb_cgroup_id "
        "sock_ops_cb_flags_set socket_cookie socket_uid"
    ),
    "beewire.bpf.lang.constants": "SkAction SockOp SockOpsFlag TcpState XdpAction",
    "beewire.bpf.lang.marks": "inline subprogram",
    "beewire.bpf.lang.contexts": (
        "BpfSock RawTracepoint SkBuff SkLookup SkMsg SockAddr SockOps SockOpt "
        "Tracepoint XdpContext"
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with Paused():
        # Not by importlib, whose own import takes 0.4 ms. A module is an attribute of
        # its package then, as any other name is of its module.
        home = __import__(_HOME_OF[name], fromlist=(name,))
        globals()[name] = value = getattr(home, name)
    return value
