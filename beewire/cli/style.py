"""Colour on a terminal that wants it (see no-color.org)."""

import os
from enum import StrEnum
from typing import TextIO


class Ink(StrEnum):
    """What a piece of text means; the value is its SGR code."""

    BOLD = "1"
    DIM = "2"
    BAD = "31"
    GOOD = "32"
    DOUBT = "33"


def wants_colour(stream: TextIO) -> bool:
    """Whether `stream` is a terminal, and neither NO_COLOR nor TERM=dumb is set."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def paint(text: str, ink: Ink, *, colour: bool) -> str:
    """`text`, in the colour of `ink` if `colour`."""
    return f"\x1b[{ink}m{text}\x1b[0m" if colour and text else text
