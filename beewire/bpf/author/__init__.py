"""The surface: what an author of programs writes, and what becomes of it when it runs.

    hooks       the decorators: @tracepoint(...), @connect4, @xdp, ...
    signature   whether a function can be a program
    program     Program: attach(), spec(), disassemble(); a class for each kind of target
    maps        HashMap, Array, LpmTrie and their kin
    per_cpu     PerCpuHash, PerCpuArray and their kin
    prefixes    IPv4Prefix, IPv6Prefix: keys of tries
    alone       maps that no program brought into the kernel
    ring        RingBuf
    sockets     SockMap, SockHash, ReusePortSockArray
    storage     SkStorage, TaskStorage, InodeStorage, CgroupStorage
    queues      Queue, Stack, BloomFilter
    xdp_chain   XdpChain: several XDP programs on one interface
    redirects   DevMap, DevMapHash, CpuMap, XskMap
    events      PerfEventArray, CgroupArray
    stacks      StackTrace, StackBuildIds
    nested      ArrayOfMaps, HashOfMaps, ProgArray
    user_ring   UserRingBuf
    arena       Arena
    instructions InsnArray
    variable    Global, Const, PerCpuGlobal, Kconfig
    collection  programs -> ObjectSpec, with the maps and globals that they use
    loaded      load(): any number of Loaded from one module, side by side
    pinned      open_pinned(): programs and maps that stayed under a directory of pins
    prepared    programs that were compiled elsewhere (skeleton: how such modules are made)
    features    what this kernel can do (from the kernel room)
    inspection  what runs in the kernel, whoever loaded it (held_files: who holds it)
    home        which declaration became what in the kernel
    bound       the way from a declared object to its Home
    interrupt   Ctrl-C as the end of a loop over records
    codec       bytes <-> Python values

Types, contexts and helper functions come from `lang`, and are handed on here. A name is
imported when it is first asked for.
"""

from beewire.garbage import Paused
from beewire.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from beewire.bpf.author import inspection
    from beewire.bpf.author.arena import (
        Arena,
    )
    from beewire.bpf.author.collection import (
        collect,
    )
    from beewire.bpf.author.events import (
        CgroupArray,
        PerfEventArray,
    )
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
    from beewire.bpf.author.instructions import InsnArray, InsnPlace
    from beewire.bpf.author.loaded import (
        Loaded,
        load,
    )
    from beewire.bpf.author.maps import Array, HashMap, LpmTrie, LruHash, ResizableHash
    from beewire.bpf.author.nested import (
        ArrayOfMaps,
        HashOfMaps,
        ProgArray,
    )
    from beewire.bpf.author.net_hooks import (
        connect_unix,
        device,
        flow_dissector,
        getpeername_unix,
        getsockname_unix,
        lirc_mode2,
        lwt_in,
        lwt_out,
        lwt_seg6local,
        lwt_xmit,
        netfilter,
        netkit_peer,
        netkit_primary,
        post_bind4,
        post_bind6,
        recvmsg_unix,
        sendmsg_unix,
        sk_reuseport,
        sk_reuseport_migrate,
        sk_skb_stream_parser,
        sk_skb_stream_verdict,
        sk_skb_verdict,
        socket_filter,
        sysctl,
        tc,
        tc_action,
        tcx_egress,
        tcx_ingress,
        xdp_cpumap,
        xdp_devmap,
        xdp_frags,
    )
    from beewire.bpf.author.per_cpu import (
        LruPerCpuHash,
        PerCpuArray,
        PerCpuHash,
    )
    from beewire.bpf.author.pinned import open_maps, open_pinned
    from beewire.bpf.author.prefixes import IPv4Prefix, IPv6Prefix
    from beewire.bpf.author.prepared import (
        prebuilt,
    )
    from beewire.bpf.author.probe_hooks import (
        kprobe,
        kprobe_multi,
        kprobe_session,
        kretprobe,
        kretprobe_multi,
        kretsyscall,
        ksyscall,
        uprobe,
        uprobe_multi,
        uprobe_session,
        uretprobe,
        uretprobe_multi,
        usdt,
    )
    from beewire.bpf.author.program import (
        Program,
    )
    from beewire.bpf.author.queues import (
        BloomFilter,
        Queue,
        Stack,
    )
    from beewire.bpf.author.redirects import (
        CpuMap,
        DevMap,
        DevMapHash,
        Port,
        Worker,
        XskMap,
    )
    from beewire.bpf.author.ring import (
        RingBuf,
    )
    from beewire.bpf.author.sockets import (
        ReusePortSockArray,
        SockHash,
        SockMap,
    )
    from beewire.bpf.author.stacks import (
        StackBuildIds,
        StackTrace,
    )
    from beewire.bpf.author.storage import (
        AttachedStorage,
        CgroupStorage,
        InodeStorage,
        PerCpuAttachedStorage,
        SkStorage,
        TaskStorage,
    )
    from beewire.bpf.author.struct_ops import (
        StructOps,
    )
    from beewire.bpf.author.trace_hooks import (
        fentry,
        fexit,
        fmod_ret,
        freplace,
        iter,  # noqa: A004 - libbpf's word for it
        lsm,
        lsm_cgroup,
        perf_event,
        raw_tracepoint_writable,
        syscall,
        tp_btf,
    )
    from beewire.bpf.author.user_ring import (
        UserRingBuf,
    )
    from beewire.bpf.author.variable import (
        Const,
        Global,
        Kconfig,
        PerCpuGlobal,
    )
    from beewire.bpf.author.xdp_chain import (
        XdpChain,
    )
    from beewire.bpf.kernel import features
    from beewire.bpf.kernel.maps.percpu import PerCpu
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
        pointer,
        u8,
        u16,
        u32,
        u64,
    )
    from beewire.bpf.lang.calls import (
        ancestor_cgroup_id,
        attach_cookie,
        bind,
        bswap64,
        context,
        cpu_id,
        current,
        current_cgroup_id,
        current_comm,
        current_gid,
        current_pid,
        current_pid_tgid,
        current_tgid,
        current_uid,
        enum_value,
        exists,
        get_retval,
        goto,
        held,
        htonl,
        htons,
        ip4,
        jiffies,
        kernel_address,
        kernel_ptr,
        kernel_str,
        kernel_type_id,
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
        seq_printf,
        seq_write,
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
        type_matches,
        user_str,
    )
    from beewire.bpf.lang.concurrency import (
        cmpxchg,
        fetch_add,
        fetch_and,
        fetch_or,
        fetch_xor,
        load_acquire,
        lock,
        rcu,
        store_release,
        xchg,
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
        Tracepoint,
        XdpContext,
    )
    from beewire.bpf.lang.decl import (
        PerfCounter,
    )
    from beewire.bpf.lang.marks import (
        inline,
        subprogram,
    )
    from beewire.bpf.lang.net_contexts import (
        DeviceAccess,
        FlowDissector,
        FlowKeys,
        LircSample,
        Netfilter,
        SkReuseport,
        SocketFilter,
        Sysctl,
    )
    from beewire.bpf.lang.objects import (
        Kptr,
        ListHead,
        ListNode,
        RbNode,
        RbRoot,
        SpinLock,
        Timer,
        WorkQueue,
        obj_drop,
        obj_new,
    )
    from beewire.bpf.lang.socket_contexts import (
        SkBuff,
        SkLookup,
        SkMsg,
        SockAddr,
        SockOps,
        SockOpt,
    )
    from beewire.bpf.lang.symbols import (
        Ksym,
        kfunc,
    )
    from beewire.bpf.lang.tcp_sock import (
        BpfTcpSock,
    )
    from beewire.bpf.lang.trace_contexts import (
        PerfEvent,
        PtRegs,
        Usdt,
        bpf_iter_meta,
        seq_file,
    )
    from beewire.bpf.object import (
        Target,
    )

# fmt: off - one name a line would be a file of its own
# Packed: a name a line would be half of the file.
# fmt: off
__all__ = [  # noqa: RUF022 - by name, as Python sorts
    "Arena", "Array", "ArrayOfMaps", "AttachedStorage", "BloomFilter", "BpfSock",
    "BpfTcpSock", "CgroupArray", "CgroupStorage", "Const", "CpuMap", "DevMap",
    "DevMapHash", "DeviceAccess", "FlowDissector", "FlowKeys", "Global", "HashMap",
    "HashOfMaps", "IPv4Prefix", "IPv6Prefix", "InodeStorage", "InsnArray",
    "InsnPlace", "Kconfig", "Kernel", "Kptr", "Ksym", "LircSample", "ListHead",
    "ListNode", "Loaded", "LpmTrie", "LruHash", "LruPerCpuHash", "Netfilter",
    "PerCpu", "PerCpuArray", "PerCpuAttachedStorage", "PerCpuGlobal", "PerCpuHash",
    "PerfCounter", "PerfEvent", "PerfEventArray", "Port", "ProgArray", "Program",
    "PtRegs", "Queue", "RawTracepoint", "RbNode", "RbRoot", "Ref", "ResizableHash",
    "ReusePortSockArray", "RingBuf", "SkAction", "SkBuff", "SkLookup", "SkMsg",
    "SkReuseport", "SkStorage", "SockAddr", "SockHash", "SockMap", "SockOp",
    "SockOps", "SockOpsFlag", "SockOpt", "SocketFilter", "SpinLock", "Stack",
    "StackBuildIds", "StackTrace", "Struct", "StructOps", "Sysctl", "Target", "TaskStorage",
    "TcpState", "Timer", "Tracepoint", "Union", "Usdt", "UserRingBuf", "WorkQueue", "Worker",
    "World", "XdpAction", "XdpChain", "XdpContext", "XskMap", "ancestor_cgroup_id", "array",
    "attach_cookie",
    "be16", "be32", "be64", "bind", "bind4", "bind6", "bits", "bpf_iter_meta",
    "bswap64", "cgroup_skb_egress", "cgroup_skb_ingress", "cgroup_sock_create",
    "cgroup_sock_release", "chars", "cmpxchg", "collect", "connect4", "connect6",
    "connect_unix", "context", "cpu_id", "current", "current_cgroup_id",
    "current_comm", "current_gid", "current_pid", "current_pid_tgid", "current_tgid",
    "current_uid", "device", "embedded", "enum_value", "evaluate", "exists", "features",
    "fentry",
    "fetch_add", "fetch_and", "fetch_or", "fetch_xor", "fexit", "field",
    "flow_dissector", "fmod_ret", "freplace", "get_retval", "getpeername4", "getpeername6",
    "getpeername_unix", "getsockname4", "getsockname6", "getsockname_unix",
    "getsockopt", "goto", "held", "helpers", "htonl", "htons", "i16", "i32", "i64",
    "i8", "inline", "inspection", "ip4", "iter", "jiffies", "kernel_address", "kernel_ptr",
    "kernel_str",
    "kernel_type_id", "kfunc", "kprobe", "kprobe_multi", "kprobe_session",
    "kretprobe", "kretprobe_multi", "kretsyscall", "ksyscall", "ktime_boot_ns",
    "ktime_coarse_ns", "ktime_ns", "lirc_mode2", "load", "load_acquire", "lock",
    "loop", "lsm", "lsm_cgroup", "lwt_in", "lwt_out", "lwt_seg6local", "lwt_xmit",
    "netfilter", "netkit_peer", "netkit_primary", "netns_cookie", "ntohl", "ntohs",
    "numa_node_id", "obj_drop", "obj_new", "open_maps", "open_pinned", "overlay", "perf_event", "pointer",
    "post_bind4", "post_bind6", "prebuilt", "printk", "random_u32", "raw_tracepoint",
    "raw_tracepoint_writable", "rcu", "recvmsg4", "recvmsg6", "recvmsg_unix",
    "redirect", "send_signal", "sendmsg4", "sendmsg6", "sendmsg_unix", "seq_file",
    "seq_printf", "seq_write", "set_retval", "setsockopt", "sizeof", "sk_assign",
    "sk_cgroup_id", "sk_fullsock", "sk_lookup", "sk_lookup_tcp", "sk_lookup_udp",
    "sk_msg", "sk_release", "sk_reuseport", "sk_reuseport_migrate",
    "sk_skb_stream_parser", "sk_skb_stream_verdict", "sk_skb_verdict",
    "skb_cgroup_id", "sock_ops", "sock_ops_cb_flags_set", "socket_cookie",
    "socket_filter", "socket_uid", "store_release", "subprogram", "syscall", "sysctl",
    "tc", "tc_action", "tcx_egress", "tcx_ingress", "tp_btf", "tracepoint",
    "type_matches", "u16", "u32", "u64", "u8", "uprobe", "uprobe_multi",
    "uprobe_session", "uretprobe", "uretprobe_multi", "usdt",
    "user_str", "xchg", "xdp", "xdp_cpumap", "xdp_devmap",
    "xdp_frags",
]
# fmt: on

_HOMES = {
    "beewire.bpf.kernel": "features",
    "beewire.bpf.author.inspection": "inspection",
    "beewire.bpf.author.struct_ops": ("StructOps"),
    "beewire.bpf.lang.symbols": ("Ksym kfunc"),
    "beewire.bpf.lang.tcp_sock": ("BpfTcpSock"),
    "beewire.bpf.lang.trace_contexts": ("PerfEvent PtRegs Usdt bpf_iter_meta seq_file"),
    "beewire.bpf.lang.net_contexts": (
        "DeviceAccess FlowDissector FlowKeys LircSample Netfilter SkReuseport "
        "SocketFilter Sysctl"
    ),
    "beewire.bpf.author.trace_hooks": (
        "fentry fexit fmod_ret freplace iter lsm lsm_cgroup perf_event raw_tracepoint_writable "
        "syscall tp_btf"
    ),
    "beewire.bpf.author.probe_hooks": (
        "kprobe kprobe_multi kprobe_session kretprobe kretprobe_multi kretsyscall ksyscall uprobe "
        "uprobe_multi uprobe_session uretprobe uretprobe_multi usdt"
    ),
    "beewire.bpf.author.net_hooks": (
        "connect_unix device flow_dissector getpeername_unix getsockname_unix "
        "lirc_mode2 lwt_in lwt_out lwt_seg6local lwt_xmit netfilter netkit_peer "
        "netkit_primary post_bind4 post_bind6 recvmsg_unix sendmsg_unix "
        "sk_reuseport sk_reuseport_migrate sk_skb_stream_parser "
        "sk_skb_stream_verdict sk_skb_verdict socket_filter sysctl tc tc_action "
        "tcx_egress tcx_ingress xdp_cpumap xdp_devmap xdp_frags"
    ),
    "beewire.bpf.author.collection": "collect",
    "beewire.bpf.author.prepared": "prebuilt",
    "beewire.bpf.author.hooks": (
        "bind4 bind6 cgroup_skb_egress cgroup_skb_ingress cgroup_sock_create "
        "cgroup_sock_release connect4 connect6 getpeername4 getpeername6 getsockname4 "
        "getsockname6 getsockopt raw_tracepoint recvmsg4 recvmsg6 sendmsg4 sendmsg6 "
        "setsockopt sk_lookup sk_msg sock_ops tracepoint xdp"
    ),
    "beewire.bpf.author.loaded": "Loaded load",
    "beewire.bpf.author.pinned": "open_maps open_pinned",
    "beewire.bpf.author.maps": "Array HashMap LpmTrie LruHash ResizableHash",
    "beewire.bpf.author.per_cpu": "LruPerCpuHash PerCpuArray PerCpuHash",
    "beewire.bpf.author.prefixes": "IPv4Prefix IPv6Prefix",
    "beewire.bpf.author.instructions": "InsnArray InsnPlace",
    "beewire.bpf.kernel.maps.percpu": "PerCpu",
    "beewire.bpf.author.program": "Program",
    "beewire.bpf.author.ring": "RingBuf",
    "beewire.bpf.author.sockets": "ReusePortSockArray SockHash SockMap",
    "beewire.bpf.author.events": "CgroupArray PerfEventArray",
    "beewire.bpf.author.stacks": "StackBuildIds StackTrace",
    "beewire.bpf.author.nested": "ArrayOfMaps HashOfMaps ProgArray",
    "beewire.bpf.author.queues": "BloomFilter Queue Stack",
    "beewire.bpf.author.xdp_chain": "XdpChain",
    "beewire.bpf.author.redirects": "CpuMap DevMap DevMapHash Port Worker XskMap",
    "beewire.bpf.author.user_ring": "UserRingBuf",
    "beewire.bpf.author.arena": ("Arena"),
    "beewire.bpf.lang.concurrency": (
        "cmpxchg fetch_add fetch_and fetch_or fetch_xor load_acquire lock rcu "
        "store_release xchg"
    ),
    "beewire.bpf.lang.objects": (
        "Kptr ListHead ListNode RbNode RbRoot SpinLock Timer WorkQueue obj_drop obj_new"
    ),
    "beewire.bpf.author.storage": (
        "AttachedStorage CgroupStorage InodeStorage PerCpuAttachedStorage "
        "SkStorage TaskStorage"
    ),
    "beewire.bpf.author.variable": "Const Global Kconfig PerCpuGlobal",
    "beewire.bpf.object": "Target",
    "beewire.bpf.lang": (
        "Kernel Ref Struct Union World array be16 be32 be64 bits chars embedded "
        "evaluate field helpers i16 i32 i64 i8 overlay pointer u16 u32 u64 u8"
    ),
    "beewire.bpf.lang.decl": "PerfCounter",
    "beewire.bpf.lang.calls": (
        "ancestor_cgroup_id attach_cookie bind bswap64 context cpu_id current current_cgroup_id "
        "current_comm current_gid current_pid current_pid_tgid current_tgid "
        "current_uid enum_value exists get_retval goto held htonl htons ip4 jiffies "
        "kernel_address kernel_ptr kernel_str kernel_type_id ktime_boot_ns ktime_coarse_ns "
        "ktime_ns loop netns_cookie ntohl ntohs numa_node_id printk random_u32 "
        "redirect send_signal seq_printf seq_write set_retval sizeof sk_assign "
        "sk_cgroup_id sk_fullsock sk_lookup_tcp sk_lookup_udp sk_release "
        "skb_cgroup_id sock_ops_cb_flags_set socket_cookie socket_uid type_matches "
        "user_str"
    ),
    "beewire.bpf.lang.constants": "SkAction SockOp SockOpsFlag TcpState XdpAction",
    "beewire.bpf.lang.marks": "inline subprogram",
    "beewire.bpf.lang.contexts": "BpfSock RawTracepoint Tracepoint XdpContext",
    "beewire.bpf.lang.socket_contexts": (
        "SkBuff SkLookup SkMsg SockAddr SockOps SockOpt"
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
        # A module of this room is handed on as a whole.
        is_module = _HOME_OF[name] == f"{__name__}.{name}"
        globals()[name] = value = home if is_module else getattr(home, name)
    return value
