"""Beewire's own configuration file, and `PodConfig` written as one.

    defaults: sidecar
    outbound:
      exclude_ports: [443, 8443]
    dns:
      capture: true

Keys are the paths of the knob table; docs/mesh/configuration.md shows the whole file.
"""

import difflib
from collections.abc import Iterator
from pathlib import Path

from beewire.errors import UsageError
from beewire.mesh.config.knobs import KNOBS, Knob
from beewire.mesh.config.origins import Base, Collector, Layer, Origin, Source
from beewire.mesh.config.pod import PodConfig
from beewire.mesh.config.values import GROUP_IDS, IDENTITY, MODE, Kind
from beewire.mesh.config.yamlfile import Yaml, parse_documents, read_documents

PATHS = {knob.path: knob for knob in KNOBS}
DEFAULTS = "defaults"
_SECTIONS = {path.partition(".")[0] for path in PATHS if "." in path}


def read_file(path: Path | str) -> Layer:
    """What a Beewire file says. Faults in values are among the layer's findings.

    Raises:
        UsageError: the file is not there, is no YAML or holds more than one document.
    """
    return _layer(read_documents(Path(path)), str(path))


def parse_file(text: str, file: str = "configuration") -> Layer:
    """As `read_file`, of a text; `file` is how it is called in messages."""
    return _layer(parse_documents(text, file), file)


def _layer(documents: list[Yaml], file: str) -> Layer:
    if len(documents) > 1:
        raise UsageError(
            f"{documents[1].place}: a second document; a Beewire file has one"
        )
    if not documents:
        raise UsageError(f"{file}: is empty; `defaults: sidecar` alone is a whole file")
    found = Collector(Base.SIDECAR)
    document = documents[0]
    if "kind" in document.mapping():
        raise UsageError(
            f"{document.place}: this is a Kubernetes object, not a Beewire file; give it"
            " as --pod"
        )
    found.base = _base(document, found)
    for path, node in _values(document):
        if path != DEFAULTS:
            _read(found, path, node)
    return found.layer()


def _base(document: Yaml, found: Collector) -> Base:
    node = document.at(DEFAULTS)
    if node is None:
        return Base.SIDECAR
    try:
        return Base(node.text())
    except ValueError:
        origin = Origin(Source.FILE, DEFAULTS, node.text(), node.place)
        found.error(
            origin,
            f"{node.text()!r} has no defaults",
            "write sidecar, or istio-iptables for its defaults without flags",
        )
        return Base.SIDECAR


def _values(document: Yaml) -> Iterator[tuple[str, Yaml]]:
    for key, node in document.mapping().items():
        if key not in _SECTIONS:
            yield key, node
            continue
        for name, value in node.mapping().items():
            yield f"{key}.{name}", value


def _read(found: Collector, path: str, node: Yaml) -> None:
    knob = PATHS.get(path)
    if knob is None:
        origin = Origin(Source.FILE, path, "", node.place)
        close = difflib.get_close_matches(path, [*PATHS, DEFAULTS], 1, 0.6)
        advice = f"write {close[0]}" if close else "see docs/mesh/configuration.md"
        found.error(origin, "there is no such key", advice)
        return
    origin = Origin(Source.FILE, path, _text(knob, node), node.place)
    found.read(knob, origin, of_pod=found.base is Base.SIDECAR)


def _text(knob: Knob, node: Yaml) -> str:
    # Lists and mappings of YAML become the commas that all of Istio's lists have.
    if node.is_sequence:
        return ",".join(each.text() for each in node.sequence())
    if node.is_mapping and knob.kind is GROUP_IDS:
        return ",".join(
            f"{name}={each.text()}" for name, each in node.mapping().items()
        )
    return node.text()


def write_file(config: PodConfig) -> str:
    """`config` as a Beewire file that reads back as the same, on its own.

    What a file has no word for, `dry_run`, is left out.
    """
    sections: dict[str, list[str]] = {"": [f"{DEFAULTS}: {Base.ISTIO_IPTABLES.value}"]}
    for path, knob in PATHS.items():
        value = _value(config, knob)
        if knob.name == "status_port" or value == knob.default:
            continue
        section, _, key = path.rpartition(".")
        indent = "  " if section else ""
        sections.setdefault(section, []).append(
            f"{indent}{key}: {_yaml(knob.kind, value)}"
        )
    lines = sections.pop("")
    for section, entries in sections.items():
        lines += [f"{section}:", *entries]
    return "\n".join(lines) + "\n"


def _value(config: PodConfig, knob: Knob) -> object:
    if knob.name == "status_port":
        return None  # its port is among the excluded ones
    if knob.name == "dns_servers":
        return config.dns_servers_v4 + config.dns_servers_v6
    value: object = getattr(config, knob.name)
    return value


def _yaml(kind: Kind, value: object) -> str:
    text = kind.write(value)
    if isinstance(value, tuple):
        words = [_quoted(word) for word in text.split(",") if word]
        if kind is GROUP_IDS:
            pairs = (word.strip('"').partition("=") for word in words)
            return (
                "{" + ", ".join(f"{name}: {number}" for name, _, number in pairs) + "}"
            )
        return f"[{', '.join(words)}]"
    plain = isinstance(value, bool | int) or kind in {MODE, IDENTITY}
    return text if plain else _quoted(text)


def _quoted(word: str) -> str:
    return word if word.isascii() and word.isdigit() else f'"{word}"'
