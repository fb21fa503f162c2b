"""Every kind of program that the kernel has: it is written, and it loads."""

import pytest

from beewire.bpf import collect, load
from beewire.bpf.kernel import features
from beewire.bpf.object.kinds import ProgramKind
from beewire.errors import VerifierError
from tests.bpf.lang.test_lang_kernel import cell

pytestmark = pytest.mark.kernel

HEAD = """
from beewire.bpf import *
class Request(Struct):
    a: u32
    sum: u32
class sk_buff(Kernel):
    len: u32
class task_struct(Kernel):
    pid: i32
counts = Array[u64](4)
"""

PROGRAMS = {
    "tc": ("SkBuff", "ctx.mark = ctx.length"),
    "tc_action": ("SkBuff", "ctx.priority = 3"),
    "tcx_ingress": ("SkBuff", "counts[0] += ctx.length"),
    "tcx_egress": ("SkBuff", "counts[0] += ctx.length"),
    "netkit_primary": ("SkBuff", "counts[0] += ctx.length"),
    "netkit_peer": ("SkBuff", "counts[0] += ctx.length"),
    "socket_filter": ("SocketFilter", "counts[0] += ctx.length"),
    "xdp_frags": ("XdpContext", "counts[0] += ctx.length"),
    "xdp_devmap": ("XdpContext", "counts[0] += ctx.egress_ifindex"),
    "xdp_cpumap": ("XdpContext", "counts[0] += ctx.length"),
    "lwt_in": ("SkBuff", "counts[0] += ctx.length"),
    "lwt_out": ("SkBuff", "counts[0] += ctx.length"),
    "lwt_xmit": ("SkBuff", "counts[0] += ctx.length"),
    "lwt_seg6local": ("SkBuff", "counts[0] += ctx.length"),
    "sk_skb_verdict": ("SkBuff", "counts[0] += ctx.length"),
    "sk_skb_stream_verdict": ("SkBuff", "counts[0] += ctx.length"),
    "sk_skb_stream_parser": ("SkBuff", "counts[0] += ctx.length"),
    "sk_reuseport": ("SkReuseport", "counts[0] += ctx.hash + ctx.sk.src_port"),
    "sk_reuseport_migrate": (
        "SkReuseport",
        "if (sk := ctx.migrating_sk) is not None:\n        counts[0] += sk.state",
    ),
    "flow_dissector": (
        "FlowDissector",
        "ctx.flow_keys.thoff = 34\n    ctx.flow_keys.sport = htons(80)",
    ),
    "netfilter": (
        "Netfilter",
        "counts[0] += kernel_ptr(ctx.skb, sk_buff).len",
    ),
    "sysctl": ("Sysctl", "counts[0] += ctx.write"),
    "device": ("DeviceAccess", "counts[0] += ctx.major"),
    "post_bind4": ("BpfSock", "counts[0] += ctx.src_ip4"),
    "post_bind6": ("BpfSock", "counts[0] += ctx.src_port"),
    "connect_unix": ("SockAddr", "counts[0] += ctx.protocol"),
    "sendmsg_unix": ("SockAddr", "counts[0] += ctx.protocol"),
    "recvmsg_unix": ("SockAddr", "counts[0] += ctx.protocol"),
    "getpeername_unix": ("SockAddr", "counts[0] += ctx.protocol"),
    "getsockname_unix": ("SockAddr", "counts[0] += ctx.protocol"),
    "perf_event": ("PerfEvent", "counts[0] += ctx.sample_period + ctx.ip"),
    "lirc_mode2": ("LircSample", "counts[0] += ctx.sample"),
    "syscall": ("Request", "ctx.sum = ctx.a + 1"),
    'kprobe("tcp_connect")': ("PtRegs", "counts[0] += ctx.parm1"),
    'kretprobe("tcp_connect")': ("PtRegs", "counts[0] += ctx.ret"),
    'uprobe("/bin/sh:main")': ("PtRegs", "counts[0] += ctx.parm2"),
    'uprobe("/bin/sh:main", sleepable=True)': ("PtRegs", "counts[0] += ctx.parm2"),
    'uretprobe("/bin/sh:main")': ("PtRegs", "counts[0] += ctx.ret"),
    'usdt("/bin/sh:sh:probe")': ("PtRegs", "counts[0] += ctx.ip"),
    'raw_tracepoint_writable("nbd_send_request")': (
        "RawTracepoint",
        "counts[0] += ctx.args[1]",
    ),
}


@pytest.mark.parametrize("hook", PROGRAMS)
def test_loads(hook: str) -> None:
    context, body = PROGRAMS[hook]
    text = f"{HEAD}\n@{hook}\ndef program(ctx: {context}) -> None:\n    {body}\n"
    program = cell(text)["program"]
    if not features.program_type(ProgramKind(program.kind)).available:
        pytest.skip(f"this kernel has no programs of kind {program.kind.name}")

    try:
        load(collect([program])).close()
    except VerifierError as error:
        if "of its context" in str(error) and hook.startswith("sk_reuseport"):
            pytest.skip("this kernel's sk_reuseport programs have no sockets")
        raise


TYPED = {
    "a probe's arguments": """
@kprobe("tcp_connect")
def program(task: task_struct, flags: u32) -> None:
    counts[0] += u64(task.pid) + flags
""",
    "a probe's result": """
@kretprobe("tcp_connect")
def program(result: i32) -> None:
    if result < 0:
        counts[0] += 1
""",
    "a system call's arguments": """
@ksyscall("openat")
def program(directory: i32, name: u64) -> None:
    counts[0] += u64(directory) + name
""",
    "a system call's result": """
@kretsyscall("openat")
def program(result: i64) -> None:
    if result < 0:
        counts[0] += 1
""",
    "a user function's arguments": """
@uprobe("/bin/sh:main", sleepable=True)
def program(argc: i32, argv: u64) -> None:
    counts[0] += u64(argc) + argv
""",
    "arguments that are assigned": """
@kprobe("tcp_connect")
def program(flags: u32) -> None:
    flags += 1
    counts[0] = flags
""",
    "the context of a program with arguments": """
@kprobe("tcp_connect")
def program(flags: u32) -> None:
    counts[0] = helpers.get_func_ip(context()) + flags
""",
}


@pytest.mark.parametrize("name", TYPED)
def test_arguments_load(name: str) -> None:
    load(collect([cell(HEAD + TYPED[name])["program"]])).close()


def test_a_syscall_program_answers_in_its_memory() -> None:
    text = "@syscall\ndef program(ctx: Request) -> None:\n    ctx.sum = ctx.a + 1\n"
    names = cell(HEAD + text)
    with load([names["program"]]) as loaded:
        live = loaded[names["program"]].live

        told = live.test_run(ctx_in=names["Request"](a=41).to_bytes())

    assert names["Request"].from_bytes(told.ctx_out).sum == 42
