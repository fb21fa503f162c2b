import os
import random
from bisect import bisect_right
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beewire.errors import NotPermitted
from beewire.symbols import KernelSymbols, kallsyms

TEXT = b"""\
ffffffff81000000 T _stext
ffffffff81000000 T start_of_all
ffffffff81000100 t __quick
ffffffff81000100 T quick
ffffffff81000180 T last
ffffffff81000200 T _etext
ffffffffc0201000 t in_module\t[bw_module]
ffffffffc0001000 t bpf_prog_6deef7357e7b4530_sample\t[bpf]
"""


def table(text: bytes = TEXT) -> KernelSymbols:
    return KernelSymbols([text])


@pytest.mark.parametrize(
    ("address", "name", "module"),
    [
        (0xFFFFFFFF81000000, "start_of_all", ""),
        (0xFFFFFFFF810000FF, "start_of_all", ""),
        (0xFFFFFFFF81000100, "quick", ""),
        (0xFFFFFFFF810001FF, "last", ""),
        (0xFFFFFFFFC0201010, "in_module", "bw_module"),
        (0xFFFFFFFFC0001001, "bpf_prog_6deef7357e7b4530_sample", "bpf"),
    ],
)
def test_an_address_is_in_the_function_that_begins_before_it(
    address: int, name: str, module: str
) -> None:
    found = table().find(address)

    assert found is not None
    assert (found.name, found.module) == (name, module)


@pytest.mark.parametrize(
    "address", [0, 5, 0xFFFFFFFF80FFFFFF, 0xFFFFFFFF81000200, 0xFFFFFFFFFFFFFFFF]
)
def test_an_address_in_no_function_has_no_name(address: int) -> None:
    assert table().find(address) is None


def test_modules_may_lie_before_the_kernel_and_programs_behind_it() -> None:
    symbols = table(
        b"ffff800080000000 T kernel\n"
        b"ffff800090000000 t program\t[bpf]\n"
        b"ffff800078000000 t module\t[nf]\n"
    )

    names = [
        found and found.name
        for found in map(
            symbols.find,
            (0xFFFF800078000004, 0xFFFF800080000004, 0xFFFF800090000004),
        )
    ]

    assert names == ["module", "kernel", "program"]


def test_hidden_addresses_are_an_error_that_says_what_shows_them() -> None:
    with pytest.raises(NotPermitted, match=r"kptr_restrict.*(CAP_SYSLOG|sysctl)"):
        table(b"0000000000000000 T _stext\n0000000000000000 T quick\n")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0x1000, 1 << 40), st.sampled_from(["", "\t[m]", "\t[bpf]"])
        ),
        min_size=1,
        unique_by=lambda pair: pair[0],
    ),
    st.integers(1, 400),
)
def test_every_symbol_is_found_by_its_own_address(
    rows: list[tuple[int, str]], cut: int
) -> None:
    core = sorted((a, m) for a, m in rows if not m)
    lines = [
        f"{address:016x} t f{address:x}{module}\n".encode()
        for address, module in [*core, *((a, m) for a, m in rows if m)]
    ]
    blocks = [b"".join(lines[at : at + cut]) for at in range(0, len(lines), cut)]

    symbols = KernelSymbols(blocks)

    found = [symbols.find(address) for address, _ in rows]
    assert [each and each.name for each in found] == [f"f{a:x}" for a, _ in rows]


@pytest.fixture
def running() -> list[tuple[int, str]]:
    if os.geteuid() != 0:
        pytest.skip("kernel addresses are shown to root only")
    rows = []
    for line in Path("/proc/kallsyms").read_text().splitlines():
        fields = line.split()
        rows.append((int(fields[0], 16), fields[2]))
    if not rows[-1][0]:
        pytest.skip("kernel addresses are hidden here")
    return sorted(rows)


def test_the_running_kernel_agrees_with_a_plain_reading_of_its_symbols(
    running: list[tuple[int, str]],
) -> None:
    starts = [address for address, _ in running]
    symbols = KernelSymbols.read()
    marks = {"_etext", "_einittext", "_end", "__entry_text_end", "__irqentry_text_end"}

    wrong = []
    for address, _ in random.Random(4).sample(running, 500):
        found = symbols.find(address)
        last, first = bisect_right(starts, address), bisect_right(starts, address - 1)
        names = {name for _, name in running[first:last]}
        if found is None:
            wrong += [names] if not names & marks else []
        elif found.name not in names:
            wrong.append(names)

    assert wrong == []


def test_the_text_is_read_in_pieces_of_whole_lines(running: object) -> None:
    del running

    assert all(piece.endswith(b"\n") for piece in kallsyms.pieces())
