"""The fields of a JSON message, by the types that they have to have."""

import json
from ipaddress import ip_address

from beewire.mesh.sidecar.reasons import Place, UnreadableError

Message = dict[str, object]


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
    found = message.get(name)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise UnreadableError(f"{name!r} is no list of objects, but {_kind(found)}")
    return found


def texts(message: Message, name: str) -> list[str]:
    """A field that is a list of strings.

    Raises:
        UnreadableError: it is something else.
    """
    found = message.get(name)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise UnreadableError(f"{name!r} is no list of strings, but {_kind(found)}")
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
    found: set[str] = set()
    left = [value]
    while left:
        match left.pop():
            case str() as one:
                found.add(one)
            case dict() as message:
                left += message.values()
            case list() as several:
                left += several
            case _:
                pass
    return found


def keys(value: object) -> set[str]:
    """Every field's name in a message, however deep."""
    found: set[str] = set()
    left = [value]
    while left:
        match left.pop():
            case dict() as message:
                found.update(message)
                left += message.values()
            case list() as several:
                left += several
            case _:
                pass
    return found


def _kind(found: object) -> str:
    return type(found).__name__
