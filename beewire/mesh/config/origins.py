"""Who said what: settings with their origins, findings, and the layer of one source."""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from beewire.mesh.config.knobs import Knob
from beewire.mesh.config.values import Invalid


class Source(Enum):
    """What kind of place a setting is from."""

    DEFAULT = "default"
    VALUES = "Helm value"
    ANNOTATION = "annotation"
    FILE = "file"
    VARIABLE = "variable"
    FLAG = "flag"
    PYTHON = "Python"
    POD = "pod"


class Base(Enum):
    """Whose defaults hold where nothing is said."""

    SIDECAR = "sidecar"  # a pod with a sidecar: all is captured
    ISTIO_IPTABLES = "istio-iptables"  # without flags, nothing is


class Origin(NamedTuple):
    """Where a setting is from.

    `name` is the annotation, flag, variable or key; `text` what is written there; `place`
    the file and line ("pod.yaml:12"), or "".
    """

    source: Source
    name: str
    text: str = ""
    place: str = ""

    def __str__(self) -> str:
        """In one line: 'annotation .../excludeOutboundPorts: "443" (pod.yaml:7)'."""
        told = f"{self.source.value} {self.name}" if self.name else self.source.value
        match self.source:
            case Source.DEFAULT | Source.POD if not self.text:
                told = self.name
            case Source.FLAG if self.text:
                told += f" {self.text}"
            case Source.VARIABLE:
                told += f"={self.text}"
            case Source.FLAG:
                pass
            case _ if self.text or self.source is Source.ANNOTATION:
                told += f': "{self.text}"'
            case _:
                pass
        return f"{told} ({self.place})" if self.place else told


class Setting(NamedTuple):
    """One knob's value and its origin. `of_pod`: the sidecar's own ports join its list."""

    value: object
    origin: Origin
    of_pod: bool = False


class Level(Enum):
    """How bad a finding is."""

    ERROR = "error"  # the configuration cannot be taken
    NOTE = "note"  # it can, and differs from what one may expect


class Finding(NamedTuple):
    """Something to be said about a configuration: where, what, and what to do."""

    level: Level
    origin: Origin
    problem: str
    advice: str = ""

    def __str__(self) -> str:
        """In one line, beginning with the place and the name."""
        place = f"{self.origin.place}: " if self.origin.place else ""
        name = f"{self.origin.name}: " if self.origin.name else ""
        advice = f"; {self.advice}" if self.advice else ""
        return f"{place}{name}{self.problem}{advice}"


class Layer(NamedTuple):
    """What one source says. `base` is None where it is only a part of something."""

    settings: Mapping[str, Setting] = MappingProxyType({})
    findings: tuple[Finding, ...] = ()
    base: Base | None = None


class Collector:
    """Builds one Layer: values are read, and what is wrong with them is kept."""

    def __init__(self, base: Base | None = None) -> None:
        self.base = base
        self.settings: dict[str, Setting] = {}
        self.findings: list[Finding] = []

    def read(self, knob: Knob, origin: Origin, *, of_pod: bool = False) -> None:
        """Read the text of `origin` as the value of `knob`."""
        try:
            value = knob.kind.read(origin.text)
        except Invalid as invalid:
            self.error(origin, invalid.problem, invalid.advice)
            return
        self.settings[knob.name] = Setting(value, origin, of_pod)

    def error(self, origin: Origin, problem: str, advice: str = "") -> None:
        """Keep a fault."""
        self.findings.append(Finding(Level.ERROR, origin, problem, advice))

    def note(self, origin: Origin, problem: str, advice: str = "") -> None:
        """Keep something that is worth knowing."""
        self.findings.append(Finding(Level.NOTE, origin, problem, advice))

    def layer(self) -> Layer:
        """What was collected."""
        return Layer(dict(self.settings), tuple(self.findings), self.base)
