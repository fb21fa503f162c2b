"""Read a `PodConfig` from the names of istio-iptables' own configuration.

They are those of its `Config`, in which Istio's test vectors are written.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from beewire.errors import UsageError
from beewire.mesh.config.knobs import KNOBS
from beewire.mesh.config.layers import by_family
from beewire.mesh.config.pod import PodConfig
from beewire.mesh.config.values import MODE, SERVERS, SWITCH, Invalid, Kind

_FIELDS = {name: knob for knob in KNOBS for name in knob.istio}
_SERVERS = {"DNSServersV4": 0, "DNSServersV6": 1}


def from_istio(values: Mapping[str, object]) -> PodConfig:
    """Return the PodConfig that `istio-iptables` would make of `values`.

    Names are those of its configuration (`ProxyUID`, `InboundPortsInclude`, ...); what
    is not named keeps its default. Lists are comma-separated; `*` is all of them.

    Raises:
        UsageError: a name that Istio does not know, or a value that it could not mean.
    """
    # Any: one dict for fields of many types; each kind reads its field's type.
    fields: dict[str, Any] = {}
    for name, value in values.items():
        if name == "DryRun":
            fields["dry_run"] = _read(name, SWITCH, value)
        elif name in _SERVERS:
            fields[f"dns_servers_v{name[-1]}"] = _servers(name, value)
        elif name not in _FIELDS:
            raise UsageError(f"{name!r} is no setting of Istio's interception")
        elif value or _FIELDS[name].kind is not MODE:  # no mode is REDIRECT
            fields[_FIELDS[name].name] = _read(name, _FIELDS[name].kind, value)
    return replace(PodConfig(), **fields)


def _read(name: str, kind: Kind, value: object) -> object:
    try:
        return kind.read(_text(kind, value))
    except Invalid as invalid:
        raise UsageError(f"{name}: {invalid}") from None


def _text(kind: Kind, value: object) -> str:
    if isinstance(value, bool) == (kind is SWITCH):
        return kind.write(value)
    raise Invalid(f"{value!r} is of another kind", f"give {kind.takes}")


def _servers(name: str, value: object) -> tuple[object, ...]:
    addresses = value.split(",") if isinstance(value, str) else value
    if not isinstance(addresses, list | tuple):
        raise UsageError(f"{name}: {value!r} is no list of addresses")
    families = by_family(_read(name, SERVERS, tuple(addresses)))
    if wrong := families[1 - _SERVERS[name]]:
        raise UsageError(f"{name}: {wrong[0]} is of the other family")
    return families[_SERVERS[name]]
