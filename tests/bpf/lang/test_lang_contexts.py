"""Contexts: their fields lie where the kernel's own type information says."""

from pathlib import Path

import pytest

from beewire.bpf import btf
from beewire.bpf.btf import types
from beewire.bpf.lang import contexts, socket_contexts
from beewire.bpf.lang.calls import HELPERS
from beewire.bpf.lang.contexts import Context, Member, SocketMember
from beewire.errors import BeewireError

VMLINUX = Path("/sys/kernel/btf/vmlinux")
# Ours for the kernel's: `length` because `len` is Python's.
RENAMED = {"length": "len"}
CLASSES = [
    contexts.BpfSock,
    socket_contexts.SockAddr,
    socket_contexts.SockOpt,
    socket_contexts.SockOps,
    socket_contexts.SkMsg,
    socket_contexts.SkLookup,
    socket_contexts.SkBuff,
    contexts.XdpContext,
]


@pytest.fixture(scope="module")
def index() -> btf.Index:
    if not VMLINUX.exists():
        pytest.skip("this kernel has no BTF")
    return btf.Index.build(VMLINUX.read_bytes())


def offsets(struct: types.Composite, base: int = 0) -> dict[str, int]:
    """The members, those of anonymous unions included, by name."""
    found: dict[str, int] = {}
    for member in struct.members:
        place = base + member.offset_bits // 8
        if member.name:
            found[member.name] = place
        elif isinstance(member.type, types.Composite):
            found |= offsets(member.type, place)
    return found


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_fields_lie_where_the_kernel_has_them(
    index: btf.Index, cls: type[Context]
) -> None:
    number = index.find(cls.struct_name, types.Kind.STRUCT)
    assert number is not None
    struct = index.type(number)
    assert isinstance(struct, types.Struct)
    kernel = offsets(struct)

    ours = {
        RENAMED.get(name, name): member.offset
        for name, member in vars(cls).items()
        if isinstance(member, Member | SocketMember)
    }

    # An older kernel may lack the youngest fields.
    common = ours.keys() & kernel.keys()
    assert {name: ours[name] for name in common} == {n: kernel[n] for n in common}
    assert len(common) >= len(ours) - 1


def test_context_fields_say_that_they_work_in_programs_only() -> None:
    context = socket_contexts.SockAddr()

    with pytest.raises(BeewireError, match="family works in programs only"):
        _ = context.family


def test_helper_rows_fit_their_functions() -> None:
    wrong = [
        function.__name__
        for function, row in HELPERS.items()
        if function.__code__.co_argcount != len(row.prototype.arguments)
    ]

    assert wrong == []


def test_helper_numbers_are_used_once() -> None:
    numbers = [row.prototype.number for row in HELPERS.values()]

    assert len(numbers) == len(set(numbers))
