"""Beewire's own configuration file.

    defaults: sidecar
    outbound:
      exclude_ports: [443, 8443]
    dns:
      capture: true

Keys are the paths of the knob table; docs/mesh/configuration.md shows the whole file. What
`write_file` makes has `origins` besides: where each setting was from before.
"""

import difflib
from collections.abc import Iterator
from pathlib import Path

from beewire.errors import UsageError
from beewire.mesh.config.knobs import KNOBS, Knob
from beewire.mesh.config.origins import Base, Collector, Layer, Origin, Source
from beewire.mesh.config.values import GROUP_IDS
from beewire.mesh.config.yamlfile import Yaml, parse_documents, read_documents

PATHS = {knob.path: knob for knob in KNOBS}
DEFAULTS = "defaults"
ORIGINS = "origins"
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
        if path not in {DEFAULTS, ORIGINS}:
            _read(found, path, node)
    _origins(found, document)
    return found.layer()


def _origins(found: Collector, document: Yaml) -> None:
    # Of a file that Beewire wrote: its settings keep the origins that they had.
    told = document.at(ORIGINS)
    for path, node in told.mapping().items() if told else ():
        name = PATHS[path].name if path in PATHS else ""
        before = _origin({key: each.text() for key, each in node.mapping().items()})
        if before is None or name not in found.settings:
            origin = Origin(Source.FILE, f"{ORIGINS} {path}", "", node.place)
            found.error(origin, "is no origin of a setting", "leave it out")
        else:
            found.settings[name] = found.settings[name]._replace(origin=before)


def _origin(texts: dict[str, str]) -> Origin | None:
    try:
        return Origin(Source(texts.pop("source", "")), **texts)
    except (TypeError, ValueError):
        return None


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
