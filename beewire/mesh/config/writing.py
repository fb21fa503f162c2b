"""A configuration as a Beewire file: how it travels to the agent, and how it is kept."""

from collections.abc import Iterable, Iterator, Mapping
from json import dumps

from beewire.mesh.config.file import DEFAULTS, ORIGINS, PATHS
from beewire.mesh.config.knobs import KNOB, Knob
from beewire.mesh.config.layers import Configuration
from beewire.mesh.config.origins import Base, Layer, Setting
from beewire.mesh.config.pod import PodConfig
from beewire.mesh.config.values import GROUP_IDS, IDENTITY, MODE, Kind


def write_file(found: Configuration | PodConfig) -> str:
    """A file that reads back as the same configuration, alone, with its origins.

    What a file has no word for, `dry_run`, is left out.
    """
    if isinstance(found, PodConfig):
        found = Configuration(found, {})
    base = _base(found)
    return _text([f"{DEFAULTS}: {base.value}"], _values(found, base), found.settings)


def write_settings(layer: Layer) -> str:
    """A file of nothing but the settings of `layer`: what is to change, and no more."""
    said = ((KNOB[name].path, each.value) for name, each in layer.settings.items())
    return _text([], said, layer.settings)


def _text(
    head: list[str],
    values: Iterable[tuple[str, object]],
    settings: Mapping[str, Setting],
) -> str:
    sections = {"": head}
    for path, value in values:
        section, _, key = path.rpartition(".")
        indent = "  " if section else ""
        written = _yaml(PATHS[path].kind, value)
        sections.setdefault(section, []).append(f"{indent}{key}: {written}")
    if settings:
        sections[ORIGINS] = [
            f"  {path}: {_origin(settings[knob.name])}"
            for path, knob in PATHS.items()
            if knob.name in settings
        ]
    lines = sections.pop("")
    for section, entries in sections.items():
        lines += [f"{section}:", *entries]
    return "\n".join(lines) + "\n"


def _base(found: Configuration) -> Base:
    # The sidecar's own ports join the excluded ones again if they joined them before.
    excluded = found.settings.get("inbound_ports_exclude")
    return Base.SIDECAR if excluded and excluded.of_pod else Base.ISTIO_IPTABLES


def _values(found: Configuration, base: Base) -> Iterator[tuple[str, object]]:
    for path, knob in PATHS.items():
        if knob.name in found.settings:
            yield path, found.settings[knob.name].value
            continue
        value = _value(found.config, knob)
        pods = base is Base.SIDECAR and knob.pod_default is not None
        # Where nothing says so, IPv6 is decided by the pod's addresses.
        known = knob.name == "enable_ipv6" and not found.settings
        if pods or known or value != knob.default:
            yield path, value


def _value(config: PodConfig, knob: Knob) -> object:
    if knob.name == "status_port":
        return None  # it is among the excluded ports
    if knob.name == "dns_servers":
        return config.dns_servers_v4 + config.dns_servers_v6
    value: object = getattr(config, knob.name)
    return value


def _origin(setting: Setting) -> str:
    told = setting.origin._asdict() | {"source": setting.origin.source.value}
    pairs = (f"{name}: {dumps(text)}" for name, text in told.items() if text)
    return "{" + ", ".join(pairs) + "}"


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
    return word if word.isascii() and word.isdigit() else dumps(word)
