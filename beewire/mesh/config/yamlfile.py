"""YAML files whose every value knows its line.

Scalars are given as they are written: `0777`, `yes` and `22:22` are texts, not numbers.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from beewire.errors import UsageError

if TYPE_CHECKING:
    import yaml

_STRING = "tag:yaml.org,2002:str"
_NULL = "tag:yaml.org,2002:null"


class Yaml(NamedTuple):
    """One node of a document: a mapping, a sequence or a scalar."""

    file: str
    node: "yaml.Node"

    @property
    def place(self) -> str:
        """Where it begins: "pod.yaml:12"."""
        return f"{self.file}:{self.node.start_mark.line + 1}"

    @property
    def is_mapping(self) -> bool:
        """Whether it has keys."""
        return _shape(self.node) == "MappingNode"

    @property
    def is_sequence(self) -> bool:
        """Whether it is a list."""
        return _shape(self.node) == "SequenceNode"

    @property
    def is_scalar(self) -> bool:
        """Whether it is one value."""
        return _shape(self.node) == "ScalarNode"

    @property
    def is_null(self) -> bool:
        """Whether nothing is written there."""
        return str(self.node.tag) == _NULL

    @property
    def is_string(self) -> bool:
        """Whether it is a text, as Kubernetes asks annotations to be."""
        return self.is_scalar and str(self.node.tag) == _STRING

    def mapping(self) -> dict[str, "Yaml"]:
        """Its keys and values.

        Raises:
            UsageError: it is no mapping, or a key is written twice.
        """
        if self.is_null:
            return {}
        if not self.is_mapping:
            raise UsageError(f"{self.place}: a mapping is expected here, KEY: VALUE")
        found: dict[str, Yaml] = {}
        for key, value in self.node.value:
            name = str(key.value)
            if name in found:
                line = key.start_mark.line + 1
                raise UsageError(
                    f"{self.file}:{line}: {name!r} is written a second time; it stands"
                    f" at {found[name].place}, too"
                )
            found[name] = Yaml(self.file, value)
        return found

    def sequence(self) -> list["Yaml"]:
        """Its members.

        Raises:
            UsageError: it is no list.
        """
        if self.is_null:
            return []
        if not self.is_sequence:
            raise UsageError(f"{self.place}: a list is expected here")
        return [Yaml(self.file, each) for each in self.node.value]

    def text(self) -> str:
        """A scalar, as it is written.

        Raises:
            UsageError: it is a mapping or a list.
        """
        if not self.is_scalar:
            raise UsageError(f"{self.place}: one value is expected here")
        return "" if self.is_null else str(self.node.value)

    def at(self, *keys: str) -> "Yaml | None":
        """What stands under `keys`, one below the other, or None.

        Raises:
            UsageError: something on the way is no mapping.
        """
        here: Yaml | None = self
        for key in keys:
            here = here.mapping().get(key) if here is not None else None
        return None if here is None or here.is_null else here


def _shape(node: "yaml.Node") -> str:
    return type(node).__name__  # the classes are PyYAML's, which is imported late


def read_documents(path: Path) -> list[Yaml]:
    """The documents of a file; `-` is standard input. Empty ones are left out.

    Raises:
        UsageError: it is not there, is no YAML, or PyYAML is not installed.
    """
    if str(path) == "-":
        return parse_documents(Path("/dev/stdin").read_text(), "standard input")
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is no text in UTF-8") from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    return parse_documents(text, str(path))


def parse_documents(text: str, file: str) -> list[Yaml]:
    """The documents of `text`; `file` is how it is called in messages.

    Raises:
        UsageError: it is no YAML, or PyYAML is not installed.
    """
    try:
        import yaml  # noqa: PLC0415 - an extra: only who reads files needs it
    except ModuleNotFoundError:
        raise UsageError(
            "reading YAML takes PyYAML: pip install 'beewire[mesh]'"
        ) from None
    try:
        nodes = list(yaml.compose_all(text, Loader=yaml.CSafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise UsageError(f"{file}{line}: is no YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        told = " ".join(str(error).split())
        raise UsageError(f"{file}: is no YAML: {told}") from None
    for node in nodes:
        _refuse_merges(node, file)
    return [Yaml(file, node) for node in nodes if str(node.tag) != _NULL]


def _refuse_merges(node: "yaml.Node", file: str) -> None:
    for key in _keys(node, set()):
        if str(key.tag) == "tag:yaml.org,2002:merge":
            line = key.start_mark.line + 1
            raise UsageError(
                f"{file}:{line}: merge keys (<<) are not read; write it out"
            )


def _keys(node: "yaml.Node", seen: set[int]) -> Iterator["yaml.Node"]:
    # Aliases make one node appear in several places: each is looked at once.
    pending = [node]
    while pending:
        here = pending.pop()
        if id(here) in seen:
            continue
        seen.add(id(here))
        if _shape(here) == "MappingNode":
            for key, value in here.value:
                yield key
                pending.append(value)
        elif _shape(here) == "SequenceNode":
            pending.extend(here.value)


def scalars(node: Yaml) -> Mapping[str, str]:
    """A mapping of texts, such as labels; anything else in it is left out."""
    return {
        name: value.text()
        for name, value in node.mapping().items()
        if not value.is_mapping and not value.is_sequence
    }
