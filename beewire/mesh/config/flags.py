"""The command line and the environment of istio-iptables.

The spelling is that of its flags library (pflag): `-p 15001`, `-p15001`, `-p=15001`,
`--envoy-port 15001`, `--envoy-port=15001`; a switch is `--redirect-dns`, or
`--redirect-dns=false`. A flag wins over a variable.
"""

import difflib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from beewire.mesh.config.knobs import KNOBS, TOOL_FLAGS, Knob, ToolFlag
from beewire.mesh.config.origins import Base, Collector, Layer, Origin, Setting, Source
from beewire.mesh.config.pod import InterceptionMode
from beewire.mesh.config.values import IDS, MARK, MODE, PORT, SWITCH, TABLE

_LONG = {knob.flag: knob for knob in KNOBS if knob.flag}
_SHORT = {knob.short: knob for knob in KNOBS if knob.short}
_TOOL_LONG = {tool.flag: tool for tool in TOOL_FLAGS}
_TOOL_SHORT = {tool.short: tool for tool in TOOL_FLAGS if tool.short}
# Variables that older releases read, and what is read instead.
_UNREAD = {"ENVOY_PORT": "-p", "ISTIO_AGENT_DUAL_STACK": "ISTIO_DUAL_STACK"}


# For these, "" is what istio-iptables itself has where nothing was said.
_EMPTY_IS_UNSAID = {PORT, MODE, MARK, TABLE, IDS}


class _Word(NamedTuple):
    # One flag of a command line; value is None where there was none.
    name: str
    knob: Knob | ToolFlag | None
    value: str | None


def read_flags(
    arguments: Sequence[str] | str,
    environment: Mapping[str, str] | None = None,
    place: str = "",
) -> Layer:
    """What a call of istio-iptables with `arguments` would be configured with.

    `arguments` are words, or one text as a shell takes it; a first word `istio-iptables`
    is skipped. Nothing is raised: faults are among the layer's findings.
    """
    found = Collector(Base.ISTIO_IPTABLES)
    _variables(found, environment or {}, place)
    for word in _split(_words(arguments, found, place), found, place):
        _flag(found, word, place)
    _user_by_name(found, environment or {}, place)
    _group_of_user(found)
    _no_mode_none(found)
    return found.layer()


def _words(arguments: Sequence[str] | str, found: Collector, place: str) -> list[str]:
    if not isinstance(arguments, str):
        return list(arguments)
    try:
        return shlex.split(arguments)
    except ValueError as error:
        origin = Origin(Source.FLAG, "istio-iptables", arguments, place)
        found.error(origin, f"is no command line: {error}", "close the quotes")
        return []


def read_environment(environment: Mapping[str, str], place: str = "") -> Layer:
    """What istio-iptables would take from `environment` alone; the rest is ignored."""
    return read_flags((), environment, place)


def _variables(found: Collector, environment: Mapping[str, str], place: str) -> None:
    for knob in KNOBS:
        for name in knob.variables:
            if name in environment:
                text = environment[name]
                _take(found, knob, Origin(Source.VARIABLE, name, text, place))
    for name, instead in _UNREAD.items():
        if name in environment:
            origin = Origin(Source.VARIABLE, name, environment[name], place)
            found.note(origin, "is not read by istio-iptables", f"use {instead}")


def _take(found: Collector, knob: Knob, origin: Origin) -> None:
    if origin.text or knob.kind not in _EMPTY_IS_UNSAID:
        found.read(knob, origin)


def _split(words: list[str], found: Collector, place: str) -> Iterator[_Word]:
    if words[:1] == ["istio-iptables"]:
        del words[0]
    while words:
        word = words.pop(0)
        if word == "--" or not word.startswith("-") or word == "-":
            rest = [word, *words]
            origin = Origin(Source.FLAG, "istio-iptables", " ".join(rest), place)
            found.error(
                origin,
                f"{rest[0]!r} is no flag, and istio-iptables takes nothing else",
                "a switch takes its value after '=': --redirect-dns=false",
            )
            return
        if word.startswith("--"):
            yield _long(word, words)
        else:
            yield from _shorts(word, words)


def _long(word: str, words: list[str]) -> _Word:
    name, equals, value = word[2:].partition("=")
    knob = _LONG.get(name) or _TOOL_LONG.get(name)
    if equals:
        return _Word(f"--{name}", knob, value)
    return _Word(f"--{name}", knob, _next(knob, words))


def _shorts(word: str, words: list[str]) -> Iterator[_Word]:
    # Switches may stand together, -nf; the rest of the word is the value of another flag.
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        knob = _SHORT.get(letter) or _TOOL_SHORT.get(letter)
        name = f"-{letter}"
        if letters.startswith("="):
            yield _Word(name, knob, letters[1:])
            return
        if knob is None or _is_switch(knob):
            yield _Word(name, knob, None)
        else:
            yield _Word(name, knob, letters or _next(knob, words))
            return


def _is_switch(knob: Knob | ToolFlag) -> bool:
    if isinstance(knob, ToolFlag):
        return not knob.takes_value
    return knob.kind is SWITCH


def _next(knob: Knob | ToolFlag | None, words: list[str]) -> str | None:
    if knob is None or _is_switch(knob) or not words:
        return None
    return words.pop(0)


def _flag(found: Collector, word: _Word, place: str) -> None:
    origin = Origin(Source.FLAG, word.name, word.value or "", place)
    match word.knob:
        case None:
            found.error(origin, "istio-iptables knows no such flag", _meant(word.name))
        case ToolFlag() as tool:
            found.note(origin, f"steers istio-iptables itself: {tool.instead}")
        case Knob() as knob if word.value is None and _is_switch(knob):
            found.settings[knob.name] = Setting(True, origin)
        case Knob() if word.value is None:
            found.error(origin, "needs a value", f"write {word.name} VALUE")
        case Knob() as knob:
            _take(found, knob, origin)


def _meant(name: str) -> str:
    known = [*(f"--{each}" for each in _LONG), *(f"-{each}" for each in _SHORT)]
    close = difflib.get_close_matches(name, known, 1, 0.7)
    return f"write {close[0]}" if close else "see `istio-iptables --help`"


def _user_by_name(found: Collector, environment: Mapping[str, str], place: str) -> None:
    # Without -u, istio-iptables looks this user up where it runs; else it takes 1337.
    name = environment.get("ENVOY_USER", "istio-proxy")
    if name != "istio-proxy" and "proxy_uid" not in found.settings:
        origin = Origin(Source.VARIABLE, "ENVOY_USER", name, place)
        problem = "names a user whose number only the pod's /etc/passwd has"
        found.error(origin, problem, "write the number: -u UID, or PROXY_UID")


def _group_of_user(found: Collector) -> None:
    # istio-iptables: "for TPROXY as its uid and gid are same", and for all modes.
    user = found.settings.get("proxy_uid")
    if user and "proxy_gid" not in found.settings:
        found.settings["proxy_gid"] = user


def _no_mode_none(found: Collector) -> None:
    setting = found.settings.get("inbound_interception_mode")
    if setting and setting.value is InterceptionMode.NONE:
        found.error(
            setting.origin,
            "istio-iptables knows REDIRECT and TPROXY only, and would take NONE for"
            " REDIRECT",
            "leave such a pod alone by the annotation sidecar.istio.io/interceptionMode",
        )
