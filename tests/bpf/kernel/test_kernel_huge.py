"""Objects of sizes that nobody writes by hand: loaded or refused, in bounded memory."""

import json
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.host, pytest.mark.timeout(240)]

Run = Callable[..., CompletedProcess[str]]

PROGRAM = """
import json, resource, sys
from beewire.bpf import isa
from beewire.bpf.kernel import load
from beewire.bpf.object import *
from beewire.errors import BeewireError

def told(*what):
    # Not ru_maxrss, which counts what the process was before exec(): the tests' own.
    [peak] = [line for line in open("/proc/self/status") if line.startswith("VmHWM:")]
    peak = int(peak.split()[1]) // 1024
    print(json.dumps([*what, peak]))

def attempt(spec):
    try:
        load(spec).close()
        return "loaded"
    except BeewireError as error:
        return str(error)
"""
INSNS = """
spec = ObjectSpec("huge")
code = (isa.mov_imm(0, 0),) * 1_000_000 + (isa.exit_insn(),)
spec.programs["p"] = ProgramSpec(
    "p", kind=ProgramKind.SOCKET_FILTER, section="socket", insns=code)
refused = attempt(read(write(spec)))
spec.programs["p"].insns = code[1:]
told(refused, attempt(spec))
"""
MAPS = """
spec = ObjectSpec("huge")
for number in range(10_000):
    name = f"m{number}"
    spec.maps[name] = MapSpec(
        name, kind=MapKind.ARRAY, key_size=4, value_size=8, max_entries=1)
spec = read(write(spec))
limit = resource.RLIMIT_NOFILE
_, most = resource.getrlimit(limit)
resource.setrlimit(limit, (1000, most))
refused = attempt(spec)
if most >= 10_100:
    resource.setrlimit(limit, (10_100, most))
    told(refused, attempt(spec))
else:
    told(refused, "loaded")
"""


def test_a_million_instructions(python: Run) -> None:
    done = python("-c", PROGRAM + INSNS)

    refused, loaded, mib = json.loads(done.stdout)
    assert refused == (
        "cannot load program 'p' (socket): its 1000001 instructions are more than the "
        "kernel allows"
    )
    assert loaded == "loaded"
    assert mib < 600


def test_ten_thousand_maps(python: Run) -> None:
    done = python("-c", PROGRAM + MAPS)

    refused, loaded, mib = json.loads(done.stdout)
    assert refused.startswith("cannot load object 'huge': it takes 10000 descriptors")
    assert refused.endswith("raise `ulimit -n`")
    assert loaded == "loaded"
    assert mib < 150
