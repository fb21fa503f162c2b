"""The fields of a JSON message, by the types that they have to have."""

import json
from collections.abc import Iterator
from ipaddress import ip_address
from typing import TypeVar

from beewire.mesh.sidecar.reasons import Place, UnreadableError

Message = dict[str, object]
T = TypeVar("T")


def decode(text: bytes) -> Message:
    """The object that a text is.

    Raises:
        UnreadableError: it is none.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"Envoy's answer is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise UnreadableError(f"Envoy's answer is no JSON object, but {_kind(found)}")
    return found


def child(message: Message, name: str) -> Message:
    """A field that is an object; an empty one if it is not there.

    Raises:
        UnreadableError: it is something else.
    """
    found = message.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise UnreadableError(f"{name!r} is no object, but {_kind(found)}")
    return found


def children(message: Message, name: str) -> list[Message]:
    """A field that is a list of objects; an empty one if it is not there.

    Raises:
        UnreadableError: it is something else.
    """
    return _several(message, name, dict, "objects")


def texts(message: Message, name: str) -> list[str]:
    """A field that is a list of strings; an empty one if it is not there.

    Raises:
        UnreadableError: it is something else.
    """
    return _several(message, name, str, "strings")


def _several(message: Message, name: str, kind: type[T], called: str) -> list[T]:
    found = message.get(name)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(one, kind) for one in found):
        raise UnreadableError(f"{name!r} is no list of {called}, but {_kind(found)}")
    return found


def text(message: Message, name: str) -> str:
    """A field that is a string; "" if it is not there.

    Raises:
        UnreadableError: it is something else.
    """
    found = message.get(name, "")
    if not isinstance(found, str):
        raise UnreadableError(f"{name!r} is no string, but {_kind(found)}")
    return found


def number(message: Message, name: str) -> int:
    """A field that is a whole number from 0 on; 0 if it is not there.

    Raises:
        UnreadableError: it is something else.
    """
    found = message.get(name, 0)
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise UnreadableError(f"{name!r} is no number, but {found!r:.40}")
    return found


def place(message: Message) -> Place | None:
    """A `core.v3.Address` as address and port; None for pipes, names and the like.

    Raises:
        UnreadableError: it is no message of that kind.
    """
    found = child(message, "socket_address")
    if not found or found.get("protocol", "TCP") != "TCP":
        return None
    try:
        return ip_address(text(found, "address")), number(found, "port_value")
    except ValueError:  # a host name
        return None


def strings(value: object) -> set[str]:
    """Every string in a message, however deep."""
    return {one for one in _within(value) if isinstance(one, str)}


def keys(value: object) -> set[str]:
    """Every field's name in a message, however deep."""
    return {name for one in _within(value) if isinstance(one, dict) for name in one}


def _within(value: object) -> Iterator[object]:
    # Without recursion: a message may be as deep as its sender likes.
    left = [value]
    while left:
        one = left.pop()
        yield one
        if isinstance(one, dict):
            left += one.values()
        elif isinstance(one, list):
            left += one


def _kind(found: object) -> str:
    return type(found).__name__
