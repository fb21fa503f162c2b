"""What istio-iptables would ask the system: resolvers, and the numbers of groups."""

from collections.abc import Sequence
from pathlib import Path

from beewire.errors import UsageError
from beewire.mesh.config.knobs import KNOB
from beewire.mesh.config.origins import Collector, Layer, Origin, Setting, Source
from beewire.mesh.config.values import SERVERS, Invalid


def read_resolv_conf(path: Path | str) -> Layer:
    """The resolvers that `path` names, as resolv.conf(5) has them.

    One that is no address, or has a zone, is noted and left out, as Istio leaves it out.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        text = Path(path).read_text(errors="replace")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    return parse_resolv_conf(text, str(path))


def parse_resolv_conf(text: str, file: str) -> Layer:
    """As `read_resolv_conf`, of a text; `file` is how it is called in messages."""
    found = Collector()
    servers: list[object] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if words[:1] == ["nameserver"] and len(words) > 1:
            origin = Origin(Source.POD, "nameserver", words[1], f"{file}:{number}")
            servers += _server(found, origin)
    said = Origin(Source.POD, "nameserver", ", ".join(map(str, servers)), file)
    found.settings[KNOB["dns_servers"].name] = Setting(tuple(servers), said)
    return found.layer()


def read_groups(pairs: Sequence[str]) -> Layer:
    """Numbers of groups that are named, as "java=1001"; faults are among the findings."""
    found = Collector()
    found.read(KNOB["owner_group_ids"], Origin(Source.FLAG, "--group", ",".join(pairs)))
    return found.layer()


def _server(found: Collector, origin: Origin) -> tuple[object, ...]:
    try:
        read = SERVERS.read(origin.text.partition("%")[0])
    except Invalid as invalid:
        found.note(origin, f"is left out: {invalid.problem}")
        return ()
    if "%" in origin.text:
        found.note(origin, "is left out, as in Istio: an address with a zone")
        return ()
    return read if isinstance(read, tuple) else ()
