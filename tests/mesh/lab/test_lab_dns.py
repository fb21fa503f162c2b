"""The lab's resolver: its messages, without a network."""

import ipaddress
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beewire.mesh.lab.dns import AAAA, A, address_of, answer, query, question

LABELS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=63)
NAMES = st.lists(LABELS, min_size=1, max_size=3).map(".".join)
IDS = st.integers(0, 65535)
TXT = 16


@given(NAMES, st.sampled_from((A, AAAA, TXT)), IDS)
def test_what_is_asked_is_read(name: str, kind: int, number: int) -> None:
    asked = question(query(name, kind, number))

    assert (asked.name, asked.kind, asked.id) == (name, kind, number)


@given(NAMES, st.sampled_from((A, AAAA)), IDS)
def test_an_answer_is_of_its_question(name: str, kind: int, number: int) -> None:
    message = answer(query(name, kind, number))
    packed = ipaddress.ip_address(address_of(name, kind)).packed

    assert question(message) == question(query(name, kind, number))
    assert struct.unpack_from("!HHHH", message, 2) == (0x8180, 1, 1, 0)
    assert message.endswith(struct.pack("!H", len(packed)) + packed)


@given(NAMES)
def test_other_kinds_have_no_record(name: str) -> None:
    assert struct.unpack_from("!HHHH", answer(query(name, TXT)), 2) == (0x8180, 1, 0, 0)


@given(st.binary(max_size=64))
def test_noise_is_a_value_error_at_most(data: bytes) -> None:
    with suppress(ValueError):
        answer(data)


def test_a_message_that_ends_early_is_none() -> None:
    with pytest.raises(ValueError, match="not a DNS query"):
        question(query("web.test")[:-3])
