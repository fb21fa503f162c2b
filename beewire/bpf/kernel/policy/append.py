"""One more rule at the end of a policy."""

import os

from beewire.bpf.kernel.policy.rules import Policy, parse_policy
from beewire.errors import PolicyError


def toml_rule(name: str, digest: str) -> str:
    """The rule that allows one object, as TOML."""
    return (
        f'\n[[rule]]\nname = {_quoted(name)}\ndecision = "allow"\n'
        f'digests = ["sha256:{digest}"]\n'
    )


def _quoted(text: str) -> str:
    """A basic string of TOML."""
    safe = "".join(c if c.isprintable() and c not in '"\\' else "_" for c in text)
    return f'"{safe}"'


def append_digest(policy: Policy, name: str, digest: str) -> None:
    """Allow the object with this digest from now on, by a rule at the end of the file.

    The file is replaced as a whole, and keeps its owner and mode.

    Raises:
        PolicyError: it cannot be written.
    """
    path = policy.path
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - no pathlib here
            text = file.read()
            before = os.fstat(file.fileno())
        text = text.rstrip("\n") + "\n" + toml_rule(name, digest)
        parse_policy(text, path)
        temporary = f"{path}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(os.open(temporary, flags, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(text)
            file.flush()
            os.fchown(file.fileno(), before.st_uid, before.st_gid)
            os.fchmod(file.fileno(), before.st_mode & 0o777)
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105 - as above
    except OSError as error:
        why = (error.strerror or "refused").lower()
        raise PolicyError(f"the policy {path} cannot be written: {why}", path) from None
