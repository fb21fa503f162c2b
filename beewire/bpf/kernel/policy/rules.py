"""The file of a policy: parsed strictly, and believed only where root alone can write."""

import os
import stat
import tomllib
from typing import Any, NamedTuple

from beewire.bpf.kernel.names import POLICY
from beewire.bpf.object import MapKind, ProgramKind
from beewire.errors import PolicyError

_LIMIT = 1 << 20
_DECISIONS = {"allow": True, "deny": False}


class Rule(NamedTuple):
    """One rule; it holds for a program where every condition that it has holds.

    An empty condition asks nothing. Names of attach points and helpers may have `*`.
    Of an "allow", `helpers` and `maps` are all that a program may use; a "deny" holds for
    those that use any of them.
    """

    name: str
    allows: bool
    users: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    attach: tuple[str, ...] = ()
    helpers: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    signed_by: tuple[str, ...] = ()


class Policy(NamedTuple):
    """The rules of one file, first to last.

    `default` is what becomes of a program that no rule holds for. `audit` is "syslog",
    "none", or the path of a file. `keys` are public Ed25519 keys by name, `signatures`
    the directory with the signatures of objects.
    """

    path: str
    rules: tuple[Rule, ...] = ()
    default: bool = False
    audit: str = "syslog"
    keys: dict[str, str] = {}  # noqa: RUF012 - never changed
    signatures: str = ""


def read_policy(path: str = POLICY, *, owners: tuple[int, ...] = (0,)) -> Policy:
    """The policy in the file `path`, which one of `owners` (uids) has to own.

    Neither the file nor its directory may be writable for anybody else.

    Raises:
        PolicyError: it cannot be read or believed, or is no policy; nothing is loaded.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        why = (error.strerror or "refused").lower()
        raise PolicyError(f"the policy {path} cannot be read: {why}", path) from None
    with open(fd, "rb") as file:  # noqa: PTH123 - a descriptor
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise PolicyError(f"the policy {path} is no regular file", path)
        _check_owner(path, path, found, owners)
        folder = os.path.dirname(path) or "."  # noqa: PTH120 - as above
        _check_owner(folder, path, os.stat(folder), owners)  # noqa: PTH116 - as above
        content = file.read(_LIMIT + 1)
    if len(content) > _LIMIT:
        raise PolicyError(f"the policy {path} is larger than {_LIMIT} bytes", path)
    return parse_policy(content.decode(errors="replace"), path)


def _check_owner(
    what: str, path: str, found: os.stat_result, owners: tuple[int, ...]
) -> None:
    sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
    if found.st_uid not in owners:
        names = " or ".join(map(str, owners))
        raise PolicyError(
            f"the policy {path} is not believed: {what} belongs to user {found.st_uid}, "
            f"not to {names}; `chown {owners[0]} {what}`",
            path,
        )
    if found.st_mode & 0o022 and not sticky:
        raise PolicyError(
            f"the policy {path} is not believed: others may write {what} (mode "
            f"{stat.S_IMODE(found.st_mode):04o}); `chmod go-w {what}`",
            path,
        )


def parse_policy(text: str, path: str) -> Policy:
    """The policy that `text` is.

    Raises:
        PolicyError: it is no TOML, or has what no policy has.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"the policy {path} is no TOML: {error}", path) from None
    table = _Table(content, path, "")
    policy = Policy(
        path,
        tuple(
            _rule(_Table(each, path, f"rule {number}"), number)
            for number, each in enumerate(table.tables("rule"), 1)
        ),
        table.decision("default", "deny"),
        table.text("audit", "syslog"),
        table.texts_by_name("keys"),
        table.text("signatures", ""),
    )
    table.end()
    _check(policy)
    return policy


def _rule(table: "_Table", number: int) -> Rule:
    rule = Rule(
        table.text("name", f"rule {number}"),
        table.decision("decision", ""),
        table.texts("users"),
        tuple(_kind(word, table) for word in table.texts("types")),
        table.texts("attach"),
        tuple(word.removeprefix("bpf_") for word in table.texts("helpers")),
        tuple(word.upper() for word in table.texts("maps")),
        tuple(_digest(word, table) for word in table.texts("digests")),
        table.texts("signed_by"),
    )
    for word in rule.maps:
        if word not in {kind.name for kind in MapKind}:
            raise table.fault(f"{word.lower()!r} is no type of map")
    table.end()
    return rule


def _kind(word: str, table: "_Table") -> str:
    if word.upper() not in {kind.name for kind in ProgramKind}:
        raise table.fault(f"{word!r} is no type of program")
    return word.upper()


def _digest(word: str, table: "_Table") -> str:
    digits = word.removeprefix("sha256:").lower()
    if len(digits) != 64 or set(digits) - set("0123456789abcdef"):
        raise table.fault(f"{word!r} is no digest, such as `sha256sum FILE` tells")
    return digits


def _check(policy: Policy) -> None:
    """That what rules refer to is there."""
    path = policy.path
    for rule in policy.rules:
        for name in rule.signed_by:
            if name not in policy.keys:
                raise PolicyError(
                    f"the policy {path}: {rule.name!r} names a key {name!r}, which is "
                    "not among [keys]",
                    path,
                )
        if rule.signed_by and not policy.signatures:
            raise PolicyError(
                f"the policy {path}: {rule.name!r} asks for signatures; say where they "
                'lie: signatures = "/etc/beewire/signatures"',
                path,
            )
    if policy.audit not in {"syslog", "none"} and not policy.audit.startswith("/"):
        raise PolicyError(
            f'the policy {path}: audit is "syslog", "none" or an absolute path, not '
            f"{policy.audit!r}",
            path,
        )


class _Table:
    """A table of the file, of which everything has to be taken."""

    def __init__(self, content: object, path: str, where: str) -> None:
        self._path = path
        self._where = f", {where}" if where else ""
        if not isinstance(content, dict):
            raise self.fault("it is no table")
        self._content: dict[str, Any] = dict(content)

    def fault(self, what: str) -> PolicyError:
        """The error for a fault in this table."""
        return PolicyError(f"the policy {self._path}{self._where}: {what}", self._path)

    def text(self, name: str, missing: str) -> str:
        """A text."""
        value = self._content.pop(name, missing)
        if not isinstance(value, str):
            raise self.fault(f"{name} is a text, not {value!r}")
        return value

    def decision(self, name: str, missing: str) -> bool:
        """Whether it is "allow"."""
        word = self.text(name, missing)
        if word not in _DECISIONS:
            raise self.fault(f'{name} is "allow" or "deny", not {word!r}')
        return _DECISIONS[word]

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts, of which there is one at least where it is given."""
        value = self._content.pop(name, None)
        if value is None:
            return ()
        words = value if isinstance(value, list) else [value]
        # uids are numbers
        words = [str(word) if type(word) is int else word for word in words]
        if not words or not all(isinstance(word, str) and word for word in words):
            raise self.fault(f"{name} is a list of names, not {value!r}")
        return tuple(words)

    def texts_by_name(self, name: str) -> dict[str, str]:
        """A table of texts."""
        value = self._content.pop(name, {})
        if not isinstance(value, dict) or not all(
            isinstance(text, str) for text in value.values()
        ):
            raise self.fault(f"{name} is a table of texts")
        return value

    def tables(self, name: str) -> list[object]:
        """A list of tables."""
        value = self._content.pop(name, [])
        if not isinstance(value, list):
            raise self.fault(f"write [[{name}]], for there may be several")
        return value

    def end(self) -> None:
        """Refuse what nobody took: a condition with a slip in its name would not hold."""
        if self._content:
            raise self.fault(f"there is no {min(self._content)!r} in a policy")
