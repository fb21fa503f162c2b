"""The corpus of `beewire bench codesize`: both languages say the same, in the same kernel.

Each program that the kernel can run by itself gets the same frames in both versions; what
it returns, what it makes of the frame, and what it leaves in maps and globals is compared.
"""

import os
import struct
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from beewire.bpf import kernel
from beewire.bpf.kernel.maps.codec import MapCodec, bytes_codec
from beewire.bpf.object import MapKind, ObjectSpec, ProgramKind
from beewire.errors import UsageError
from tests.benchmarks.traffic import IP4, IP6, MAC, PORTS, Traffic

CHECKOUT = Path(__file__).parents[2]
HEADERS = Path("/usr/include/bpf/bpf_helpers.h")

sys.path.insert(0, str(CHECKOUT / "benchmarks"))  # as for benchmarks/codesize.py
_twins: Any = import_module("_twins")

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not HEADERS.exists(), reason="libbpf-dev is not installed"),
]

Entries = dict[str, dict[bytes, bytes]]
Input = tuple[bytes, bytes]  # a frame, a context

ALL = {each.name: each for each in _twins.twins()}
CORPUS = [name for name, each in ALL.items() if each.module.startswith("corpus.")]
FRAMES = 400

TABLES = {
    MapKind.HASH,
    MapKind.ARRAY,
    MapKind.PERCPU_HASH,
    MapKind.PERCPU_ARRAY,
    MapKind.LRU_HASH,
    MapKind.LPM_TRIE,
}

# Where values hold times or random numbers: bytes of each value that are not compared.
VOLATILE: dict[tuple[str, str], list[range]] = {
    ("cgroup_quota", "usages"): [range(8)],
    ("conntrack", "connections"): [range(8)],
    ("fixed_point", "signals"): [range(40)],
    ("flow_stats", "flows"): [range(16), range(40, 48)],
    ("masquerade", "incoming"): [range(8, 16)],
    ("masquerade", "outgoing"): [range(8, 16)],
    ("median", "windows"): [range(72), range(80, 96)],
    ("syn_proxy", "admitted"): [range(8)],
    ("token_bucket", "buckets"): [range(8, 16)],
    ("uuid", "known"): [range(16)],
}


def be16(value: int) -> bytes:
    return struct.pack("!H", value)


def flows() -> Iterator[tuple[bytes, bytes]]:
    """Destinations: an address, a port, both in network order."""
    for address, port in product(IP4, PORTS):
        yield address, be16(port)


def entries() -> dict[str, Entries]:
    """What maps hold before the first frame, by program and map."""
    u32, u64 = struct.Struct("=I").pack, struct.Struct("=Q").pack
    protocols = (u32(6)[:2], u32(17)[:2])
    vips = {a + p + n: (a, p) for (a, p), n in product(flows(), protocols)}
    half = {key: value for i, (key, value) in enumerate(vips.items()) if i % 2}
    return {
        "nat44": {"mappings": {key: IP4[1] + be16(8080) + b"\0\0" for key in half}},
        "balancer": {
            "services": {key: u32(256) + u32(0) for key in half},
            "ring": {u32(i): u32(i % 7) for i in range(256, 512)},
            "backends": {u32(i): IP4[i % 3] + be16(81) + MAC[i % 4] for i in range(5)},
        },
        "firewall": {
            "blocked4": {u32(32) + IP4[1]: u32(1)},
            "blocked6": {u32(128) + IP6[1]: u32(1)},
            "allowed": {struct.pack("=HBB", p, 6, 0): u32(1) for p in PORTS[:4]},
        },
        "vlan_policy": {
            "policies": {
                u32(5): struct.pack("=BBxxxxxxQ", 1, 7, 0),
                u32(6): struct.pack("=BBxxxxxxQ", 1, 7, 900),
            }
        },
        "dns_names": {"blocked": {u32(djb(b"\3www\7example\3com")): u64(0)}},
        "quic_router": {"servers": {u32(i): u32(i % 3) for i in range(256)}},
        "arp_guard": {"owners": {IP4[0]: MAC[1] + bytes(2), IP4[1]: MAC[2] + bytes(2)}},
        "vxlan": {
            "tenants": {
                u32(7): IP4[0] + b"\xff\xff\xff\xff" + IP6[0][:8] + bytes(16),
                u32(9): bytes([10, 0, 0, 0, 255, 0, 0, 0]) + bytes(24),
            }
        },
        "murmur128": {
            "servers": {
                u32(i): struct.pack("=QQII", i, 77 * i, 9 - i, i) for i in range(4)
            }
        },
        "syn_proxy": {
            "services": {
                IP4[0]: IP4[0] + be16(80) + be16(512),
                IP4[1]: IP4[1] + be16(443) * 2,
            }
        },
        "socket_dispatch": {
            "rules": {
                u32(2): rule(53, 79, 1, 80, 80, 0),
                u32(10): rule(9, 9, 0, 1, 60, 3),
            },
            "refused": {struct.pack("=II", 160, 2) + IP4[1] + bytes(12): u32(1)},
        },
        "cgroup_quota": {"quotas": {u64(0): u64(4000) + u64(2000)}},
    }


def rule(*numbers: int) -> bytes:
    """A rule of socket_dispatch: ranges of ports and their listeners; the default is 20."""
    ranges = [struct.pack("=HHI", *numbers[i : i + 3]) for i in (0, 3)]
    return b"".join(ranges) + bytes(16) + struct.pack("=I", 20)


def djb(name: bytes) -> int:
    h = 5381
    for letter in name:
        h = (h * 33 + letter) & 0xFFFFFFFF
    return h


GLOBALS: dict[str, dict[str, bytes]] = {
    "chacha": {"masking": bytes(range(40)) + struct.pack("=II", 0xBB01, 0)},
    "responder": {"identity": MAC[1] + IP4[1] + bytes(2) + IP6[1]},
    "siphash": {"secret": bytes(range(16))},
    "syn_proxy": {"keys": bytes(range(8))},
    "token_bucket": {"limits": struct.pack("=QQ", 0, 20)},
}


def frames(traffic: Traffic) -> list[Input]:
    return [(traffic.frame(), b"") for _ in range(FRAMES)]


def packets(traffic: Traffic) -> list[Input]:
    """Frames that the kernel takes for a socket's: with a whole network header."""
    return [each for each in frames(traffic) if len(each[0]) > 60]


def arguments(traffic: Traffic) -> list[Input]:
    """Arguments of raw tracepoints: system call numbers, states, no addresses."""
    r = traffic.random
    return [
        (b"", struct.pack("=12Q", 0, r.randrange(450), r.choice((2, 7)), *range(9)))
        for _ in range(FRAMES)
    ]


def connections(traffic: Traffic) -> list[Input]:
    """`struct bpf_sk_lookup` of incoming connections."""
    r = traffic.random
    made = []
    for _ in range(FRAMES):
        family, protocol = r.choice((2, 10)), r.choice((6, 6, 17))
        remote = r.choice(IP6 if family == 10 else IP4)
        words = struct.pack("=QII", 0, family, protocol)
        words += remote[:4] + remote.rjust(16, b"\0") + be16(r.choice(PORTS)) + bytes(2)
        words += IP4[0] + IP6[0] + struct.pack("=II", r.choice((53, 80, 443, 9000)), 0)
        made.append((b"", words.ljust(72, b"\0")))
    return made


INPUTS = {
    ProgramKind.XDP: frames,
    ProgramKind.CGROUP_SKB: packets,
    ProgramKind.RAW_TRACEPOINT: arguments,
    ProgramKind.SK_LOOKUP: connections,
}


@pytest.fixture(autouse=True)
def one_cpu() -> Iterator[None]:
    """Stay on one CPU: per-CPU values may carry state from frame to frame."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture(scope="module")
def clang() -> str:
    try:
        return str(_twins.find_clang())
    except UsageError:
        pytest.skip("clang is not installed")


def raw(spec: ObjectSpec) -> dict[str, MapCodec[bytes, bytes]]:
    """Codecs that pass keys and values as bytes."""
    return {
        name: MapCodec(
            *bytes_codec(each.key_size, name), *bytes_codec(each.value_size, name)
        )
        for name, each in spec.maps.items()
        if each.kind in TABLES
    }


class Side:
    """One version of a program module, loaded and filled."""

    def __init__(self, name: str, spec: ObjectSpec, loaded: kernel.Loaded) -> None:
        self.name = name
        self.spec = spec
        self.loaded = loaded
        for table, content in entries().get(name, {}).items():
            for key, value in content.items():
                loaded.maps[table][key] = value

    def run(self, program: str, inputs: list[Input]) -> list[Any]:
        live = self.loaded.programs[program]
        return [live.test_run(frame, context) for frame, context in inputs]

    def left_behind(self) -> dict[str, Any]:
        """The contents of all tables and sections, without what is volatile."""
        found: dict[str, Any] = {}
        for name, each in self.spec.maps.items():
            if each.kind in TABLES:
                table = self.loaded.maps[name].items()
                found[name] = {key: self.stable(name, value) for key, value in table}
        for name, section in self.loaded.sections.items():
            for variable in self.spec.sections[name].variables:
                found[variable.name] = section.read(variable.name)
        return found

    def stable(self, table: str, value: Any) -> Any:
        holes = VOLATILE.get((self.name, table), [])
        if not isinstance(value, bytes):
            return sorted(self.stable(table, each) for each in value if any(each))
        kept = bytearray(value)
        for hole in holes:
            for i in hole:
                kept[i] = 0
        return bytes(kept)


def settings(name: str, spec: ObjectSpec) -> Mapping[str, int | bytes]:
    known = {v.name for section in spec.sections.values() for v in section.variables}
    return {k: v for k, v in GLOBALS.get(name, {}).items() if k in known}


@pytest.mark.parametrize("name", CORPUS)
def test_both_versions_do_the_same(name: str, clang: str) -> None:
    ours, theirs = ALL[name].ours(), ALL[name].theirs(clang)
    assert ours.programs.keys() == theirs.programs.keys()
    assert maps(ours) == maps(theirs)

    with (
        kernel.load(ours, codecs=raw(ours), globals=settings(name, ours)) as mine,
        kernel.load(
            theirs, codecs=raw(theirs), globals=settings(name, theirs)
        ) as their,
    ):
        left, right = Side(name, ours, mine), Side(name, theirs, their)
        for seed, (program, spec) in enumerate(ours.programs.items()):
            if (make := INPUTS.get(spec.kind)) is not None:
                inputs = make(Traffic(seed))
                assert left.run(program, inputs) == right.run(program, inputs)
        assert left.left_behind() == right.left_behind()


def maps(spec: ObjectSpec) -> dict[str, tuple[Any, ...]]:
    """Kinds and sizes."""
    return {
        name: (each.kind, each.key_size, each.value_size, each.max_entries)
        for name, each in spec.maps.items()
    }


def test_the_corpus_is_as_large_as_it_says() -> None:
    assert len(CORPUS) >= 40
    assert sum(ALL[name].heavy for name in CORPUS) >= 6
    assert all((CHECKOUT / each.python).exists() for each in ALL.values())
