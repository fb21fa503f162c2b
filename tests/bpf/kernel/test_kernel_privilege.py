"""The least that each thing takes: enough where it is there, named where it is not."""

import pytest

from tests.capabilities import run

pytestmark = pytest.mark.kernel

# Whatever the kernel has is loaded with exactly what is said to be needed, and with less
# refused, naming the one that is missing.
PROGRAMS = """
import errno, os
from itertools import combinations
from beewire.bpf.kernel import explain, privilege
from beewire.bpf.kernel.features.programs import TRIVIAL, shapes
from beewire.bpf.kernel.probed import try_program
from beewire.bpf.object import ProgramKind

def attempt(kind, fields, *capabilities):
    keep(*capabilities)
    result = try_program(TRIVIAL, kind, **fields)
    if result >= 0:
        os.close(result)
        return "ok"
    need = privilege.program_needs(kind)
    return str(explain.refusal(-result, "PROG_LOAD", "load it", need))

everything = ("CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_SYS_ADMIN")
for kind in ProgramKind:
    if not kind or kind is ProgramKind.EXT:
        continue
    keep(*everything)
    shape = next(iter(shapes(kind)))
    if shape.missing or attempt(kind, shape.fields, *everything) != "ok":
        continue
    need = ("CAP_BPF", *privilege.program_needs(kind))
    told[kind.name] = attempt(kind, shape.fields, *need)
    for lacking in need:
        rest = [each for each in need if each != lacking]
        told[f"{kind.name} without {lacking}"] = attempt(kind, shape.fields, *rest)
"""

MAPS = """
import os
from beewire.bpf.kernel import Map
from beewire.bpf.kernel.features.maps import create
from beewire.bpf.kernel import explain, privilege
from beewire.bpf.object import MapKind

def attempt(kind, *capabilities):
    keep(*capabilities)
    result = create(kind)
    if result >= 0:
        os.close(result)
        return "ok"
    need = privilege.map_needs(kind)
    return str(explain.refusal(-result, "MAP_CREATE", "make it", need))

for kind in MapKind:
    everything = ("CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_SYS_ADMIN")
    if not kind or attempt(kind, *everything) != "ok":
        continue
    need = ("CAP_BPF", *privilege.map_needs(kind))
    told[kind.name] = attempt(kind, *need)
    for lacking in need:
        rest = [each for each in need if each != lacking]
        told[f"{kind.name} without {lacking}"] = attempt(kind, *rest)
"""


@pytest.mark.parametrize("code", [PROGRAMS, MAPS], ids=["programs", "maps"])
def test_what_is_needed_suffices_and_what_lacks_is_named(code: str) -> None:
    told = run(code)

    granted = {name: said for name, said in told.items() if " " not in name}
    assert set(granted.values()) == {"ok"}
    assert len(granted) > 20
    for name, said in told.items():
        _, _, lacking = name.partition(" without ")
        assert not lacking or f"this process lacks {lacking};" in said, (name, said)


ATTACH = """
import os
from beewire.bpf import isa
from beewire.bpf.kernel import *
from beewire.bpf.object import *
from beewire.errors import BeewireError

def program(kind, section, attach_kind=None, attach_to="", value=0):
    spec = ObjectSpec("test")
    spec.programs["p"] = ProgramSpec("p", kind=kind, section=section,
        attach_kind=attach_kind, attach_to=attach_to,
        insns=(isa.mov_imm(0, value), isa.exit_insn()))
    return load(spec).programs["p"]

def attempt(name, attach, *capabilities):
    keep(*capabilities)
    try:
        attach().close()
        told[name] = "ok"
    except BeewireError as error:
        told[name] = str(error)
    keep("CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_SYS_ADMIN")

cgroup = {cgroup!r}
packets = program(ProgramKind.CGROUP_SKB, "cgroup_skb/egress",
    AttachKind.CGROUP_INET_EGRESS, value=1)
attempt("packets", lambda: attach_cgroup(packets, cgroup), "CAP_BPF", "CAP_NET_ADMIN")
attempt("packets without", lambda: attach_cgroup(packets, cgroup), "CAP_BPF")
connects = program(ProgramKind.CGROUP_SOCK_ADDR, "cgroup/connect4",
    AttachKind.CGROUP_INET4_CONNECT, value=1)
attempt("connects", lambda: attach_cgroup(connects, cgroup), "CAP_BPF", "CAP_NET_ADMIN")
samples = program(ProgramKind.PERF_EVENT, "perf_event")
sampling = Sampling(frequency=1)
sample = lambda: attach_perf_event(samples, "cpu-clock", sampling)
attempt("samples", sample, "CAP_BPF", "CAP_PERFMON")
attempt("samples without", sample, "CAP_BPF")
raw = program(ProgramKind.RAW_TRACEPOINT, "raw_tracepoint")
attempt("raw", lambda: attach_raw_tracepoint(raw, "sched_process_exec"), "CAP_BPF", "CAP_PERFMON")
"""


def test_attaching_takes_no_more_and_says_what_is_missing(cgroup: str) -> None:
    told = run(ATTACH.replace("{cgroup!r}", repr(cgroup)))

    for name, said in told.items():
        if "without" not in name:
            # Debian's kernels ask for more, which is said.
            assert said == "ok" or "kernel.perf_event_paranoid is 3" in said, name
    assert "lacks CAP_NET_ADMIN; run" in told["packets without"]
    assert "lacks CAP_PERFMON; run" in told["samples without"]


POINTERS = """
from beewire.bpf import isa
from beewire.bpf.isa import AluOp
from beewire.bpf.kernel import load
from beewire.bpf.object import *
from beewire.errors import VerifierError

spec = ObjectSpec("test")
code = {"pointers": (isa.mov_reg(0, 10), isa.exit_insn()),
        "helpers": (isa.mov_reg(1, 10), isa.alu_imm(AluOp.ADD, 1, -8), isa.mov_imm(2, 8),
            isa.mov_imm(3, 0), isa.call_helper(113), isa.mov_imm(0, 0), isa.exit_insn())}
keep("CAP_BPF", "CAP_NET_ADMIN")
for name, insns in code.items():
    spec.programs["p"] = ProgramSpec("p", kind=ProgramKind.XDP, section="xdp", insns=insns)
    try:
        load(spec).close()
        told[name] = "ok"
    except VerifierError as error:
        told[name] = " ".join(error.__notes__)
"""


def test_what_the_verifier_forbids_for_lack_of_perfmon_is_told() -> None:
    told = run(POINTERS)

    for said in told.values():
        assert "this process lacks CAP_PERFMON" in said
