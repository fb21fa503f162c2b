"""Objects that clang writes are read, and written again so that libbpf loads them."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from beewire.bpf import isa
from beewire.bpf.btf import Ptr, Struct, size_of
from beewire.bpf.object import (
    AttachKind,
    MapKind,
    ObjectSpec,
    ProgramKind,
    RelocationKind,
    read,
    write,
)
from beewire.errors import ObjectError

HEADERS = Path("/usr/include/bpf/bpf_helpers.h")

pytestmark = pytest.mark.skipif(
    not HEADERS.exists(), reason="libbpf-dev is not installed"
)

PRELUDE = """
typedef unsigned int __u32; typedef unsigned long long __u64; typedef unsigned short __u16;
typedef unsigned char __u8; typedef int __s32; typedef long long __s64;
typedef __u16 __be16; typedef __u32 __be32; typedef __u64 __be64; typedef __u16 __sum16;
typedef __u32 __wsum;
enum { BPF_MAP_TYPE_HASH = 1, BPF_MAP_TYPE_ARRAY = 2, BPF_MAP_TYPE_HASH_OF_MAPS = 13,
       BPF_MAP_TYPE_RINGBUF = 27 };
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
char LICENSE[] SEC("license") = "Dual BSD/GPL";
"""

EVERYTHING = """
struct key { __u32 pid; __u32 cpu; };
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __type(key, struct key);
    __type(value, __u64);
    __uint(max_entries, 128);
    __uint(map_flags, 1);
} counts SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} events SEC(".maps");

struct task_struct { struct task_struct *real_parent; int tgid; }
    __attribute__((preserve_access_index));

__u64 total = 5;
static __u64 hidden;
const volatile __u32 limit = 100;

static __attribute__((noinline)) int twice(int x) { return x * 2 + (int)hidden; }
__attribute__((noinline)) int global_function(int x) { return twice(x) + 1; }

static long callback(__u32 index, void *ctx) { hidden += index; return 0; }

SEC("tp/sched/sched_process_exec")
int on_exec(void *ctx)
{
    struct task_struct *task = (void *)bpf_get_current_task();
    struct key key = { .pid = BPF_CORE_READ(task, real_parent, tgid) };
    __u64 *count = bpf_map_lookup_elem(&counts, &key);
    if (count && *count < limit)
        __sync_fetch_and_add(count, 1);
    __sync_fetch_and_add(&total, 1);
    bpf_ringbuf_output(&events, &key, sizeof(key), 0);
    bpf_loop(3, callback, 0, 0);
    return 0;
}

SEC("cgroup/connect4")
int first(void *ctx) { return global_function(0) > 0; }

SEC("cgroup/connect4")
int second(void *ctx) { hidden++; bpf_printk("second %d", limit); return 1; }
"""

Compile = Callable[[str], bytes]


@pytest.fixture(params=["clang", "clang-19"])
def compile_(tmp_path: Path, request: pytest.FixtureRequest) -> Compile:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")

    def compile_(source: str) -> bytes:
        file, target = tmp_path / "clang.c", tmp_path / "clang.o"
        file.write_text(PRELUDE + source)
        options = ["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wno-everything"]
        command = [request.param, *options, "-c", str(file), "-o", str(target)]
        subprocess.run(command, check=True, cwd=tmp_path)
        return target.read_bytes()

    return compile_


@pytest.fixture
def spec(compile_: Compile) -> ObjectSpec:
    return read(compile_(EVERYTHING))


def references(spec: ObjectSpec, program: str) -> set[tuple[str, str]]:
    return {(r.kind, r.symbol) for r in spec.programs[program].relocations}


def test_programs_come_with_their_hooks(spec: ObjectSpec) -> None:
    exec_, first = spec.programs["on_exec"], spec.programs["first"]

    assert (exec_.kind, exec_.attach_to) == (
        ProgramKind.TRACEPOINT,
        "sched/sched_process_exec",
    )
    assert first.attach_kind is AttachKind.CGROUP_INET4_CONNECT
    assert spec.license == "Dual BSD/GPL"


def test_programs_of_one_section_are_told_apart(spec: ObjectSpec) -> None:
    assert spec.programs["second"].insns[-1] == isa.exit_insn()
    assert spec.programs["second"].section == spec.programs["first"].section


def test_maps_come_with_their_types(spec: ObjectSpec) -> None:
    counts = spec.maps["counts"]

    assert (counts.kind, counts.max_entries, counts.flags) == (MapKind.HASH, 128, 1)
    assert (counts.key_size, counts.value_size) == (8, 8)
    assert isinstance(counts.key, Struct)
    assert [member.name for member in counts.key.members] == ["pid", "cpu"]


def test_a_ring_buffer_has_neither_key_nor_value(spec: ObjectSpec) -> None:
    events = spec.maps["events"]

    assert (events.kind, events.key, events.value) == (MapKind.RINGBUF, None, None)


def test_variables_come_with_place_and_content(spec: ObjectSpec) -> None:
    (total,) = spec.sections[".data"].variables

    assert (total.name, total.offset, total.size) == ("total", 0, 8)
    assert spec.sections[".data"].content == (5).to_bytes(8, "little")


def test_instructions_refer_to_maps_and_variables(spec: ObjectSpec) -> None:
    found = references(spec, "on_exec")

    assert {
        (RelocationKind.MAP, "counts"),
        (RelocationKind.MAP, "events"),
        (RelocationKind.GLOBAL, "limit"),
        (RelocationKind.GLOBAL, "total"),
        (RelocationKind.SUBPROGRAM, "callback"),
    } == found


def test_a_static_variable_is_found_by_its_section(spec: ObjectSpec) -> None:
    assert (RelocationKind.GLOBAL, ".bss") in references(spec, "second")


def test_calls_within_text_are_found(spec: ObjectSpec) -> None:
    assert references(spec, "first") == {(RelocationKind.SUBPROGRAM, "global_function")}
    assert references(spec, "global_function") == {(RelocationKind.SUBPROGRAM, "twice")}


def test_core_records_name_the_local_type(spec: ObjectSpec) -> None:
    relos = spec.programs["on_exec"].core_relos

    assert [(relo.type.name, relo.access, relo.kind) for relo in relos] == [
        ("task_struct", "0:0", 0),
        ("task_struct", "0:1", 0),
    ]


def test_lines_name_the_source(spec: ObjectSpec) -> None:
    line = spec.programs["second"].lines[0]

    assert line.slot == 0
    assert line.file.endswith("clang.c")
    assert line.text.startswith("int second")


def test_signatures_come_along(spec: ObjectSpec) -> None:
    signature = spec.programs["on_exec"].signature

    assert signature is not None
    assert isinstance(signature.proto.params[0].type, Ptr)
    assert size_of(signature.proto.returns) == 4


def test_what_was_read_can_be_written_and_read_again(
    spec: ObjectSpec, describe: Callable[[ObjectSpec], dict[str, object]]
) -> None:
    again = read(write(spec))

    assert describe(again) == describe(spec)


@pytest.mark.kernel
def test_what_was_read_can_be_written_and_loaded(
    spec: ObjectSpec, bpffs: Path, tmp_path: Path
) -> None:
    if shutil.which("bpftool") is None:
        pytest.skip("bpftool is not installed")
    copy = tmp_path / "copy.o"
    copy.write_bytes(write(spec))

    command = ["bpftool", "prog", "loadall", str(copy), str(bpffs / "bw-test")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    pinned = sorted(path.name for path in (bpffs / "bw-test").iterdir())
    assert pinned == ["first", "on_exec", "second"]


def test_kernel_functions_come_with_their_types(compile_: Compile) -> None:
    spec = read(
        compile_(
            """
            extern void bpf_rcu_read_lock(void) __ksym;
            extern const int bpf_prog_active __ksym;
            SEC("tp_btf/sched_switch") int f(void *ctx)
            { bpf_rcu_read_lock(); return bpf_prog_active; }
            """
        )
    )

    assert references(spec, "f") == {
        (RelocationKind.KFUNC, "bpf_rcu_read_lock"),
        (RelocationKind.KSYM, "bpf_prog_active"),
    }
    assert sorted(spec.externs) == ["bpf_prog_active", "bpf_rcu_read_lock"]


def test_a_map_of_maps_comes_with_its_inner_map(compile_: Compile) -> None:
    spec = read(
        compile_(
            """
            struct inner {
                __uint(type, BPF_MAP_TYPE_ARRAY);
                __type(key, int); __type(value, __u64); __uint(max_entries, 3);
            };
            struct {
                __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
                __uint(max_entries, 8); __type(key, int);
                __array(values, struct inner);
            } outer SEC(".maps");
            """
        )
    )

    inner = spec.maps["outer"].inner
    assert inner is not None
    assert (inner.kind, inner.value_size, inner.max_entries) == (MapKind.ARRAY, 8, 3)


REFUSED = {
    "'nothing' is declared nowhere": """
        extern int nothing(void);
        SEC("xdp") int f(void *ctx) { return nothing(); }
    """,
    "holds pointers": """
        int one(int x) { return x; }
        int (*table[])(int) = {one};
        SEC("xdp") int f(void *ctx) { return ((unsigned long)table[0]) != 0; }
    """,
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_a_spec_cannot_say_is_refused(compile_: Compile, message: str) -> None:
    with pytest.raises(ObjectError, match=message):
        read(compile_(REFUSED[message]))


def test_maps_without_types_are_refused(compile_: Compile, tmp_path: Path) -> None:
    compile_(EVERYTHING)
    stripped = tmp_path / "stripped.o"
    remove = ["llvm-objcopy", "--remove-section=.BTF", "--remove-section=.BTF.ext"]
    if shutil.which(remove[0]) is None:
        pytest.skip("llvm-objcopy is not installed")
    subprocess.run([*remove, str(tmp_path / "clang.o"), str(stripped)], check=True)

    with pytest.raises(ObjectError, match="-g"):
        read(stripped.read_bytes())
