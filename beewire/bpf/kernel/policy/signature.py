"""Ed25519 signatures of objects, in a directory: DIGEST.sig is that of one object.

What is signed is the object's file. `openssl pkeyutl -sign -rawin` makes the same
signatures as `sign`. Verifying takes the package cryptography (the extra `signatures`):
where it is missing, a rule that asks for a signature refuses every load.
"""

import base64
import binascii
import os
from typing import TYPE_CHECKING

from beewire.bpf.kernel.policy.facts import Facts
from beewire.bpf.kernel.policy.rules import Policy, Rule
from beewire.errors import PolicyError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_LENGTH = 64


def signers(policy: Policy, facts: Facts, rule: Rule) -> list[str]:
    """The keys of a rule that signed an object.

    Raises:
        PolicyError: the package that verifies is missing, or a key is none.
    """
    keys = {name: _key(policy, name) for name in rule.signed_by}
    signature = _signature(f"{policy.signatures}/{facts.digest}.sig")
    if not facts.content or signature is None:
        return []
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra

    found = []
    for name, key in keys.items():
        try:
            key.verify(signature, facts.content)
        except InvalidSignature:
            continue
        found.append(name)
    return found


def _key(policy: Policy, name: str) -> "Ed25519PublicKey":
    try:
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - an extra
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415
    except ImportError:
        raise PolicyError(
            f"the policy {policy.path} asks for signatures, which cannot be verified "
            "here: `pip install beewire[signatures]`",
            policy.path,
        ) from None
    text = policy.keys[name]
    try:
        if "BEGIN PUBLIC KEY" in text:
            key = serialization.load_pem_public_key(text.encode())
            if isinstance(key, ed25519.Ed25519PublicKey):
                return key
        else:
            raw = base64.b64decode(text, validate=True)
            return ed25519.Ed25519PublicKey.from_public_bytes(raw)
    except ValueError:
        pass
    raise PolicyError(
        f"the policy {policy.path}: key {name!r} is no public Ed25519 key (PEM, or the "
        "base64 of its 32 bytes)",
        policy.path,
    )


def _signature(path: str) -> bytes | None:
    """64 bytes, as they stand or in base64; None where there are none."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - no pathlib here
            content = file.read(1 << 10)
    except OSError:
        return None
    if len(content) == _LENGTH:
        return content
    try:
        content = base64.b64decode(content.strip(), validate=True)
    except binascii.Error:
        return None
    return content if len(content) == _LENGTH else None


def sign(facts: Facts, key: bytes, folder: str) -> str:
    """Sign an object with a private Ed25519 key (PEM); the path of the signature.

    Raises:
        PolicyError: the package that signs is missing, or it is no such key.
    """
    try:
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - an extra
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415
    except ImportError:
        message = (
            "signing takes the package cryptography: `pip install beewire[signatures]`"
        )
        raise PolicyError(message, "") from None
    try:
        private = serialization.load_pem_private_key(key, None)
    except (ValueError, TypeError) as error:
        raise PolicyError(f"it is no private key in PEM: {error}", "") from None
    if not isinstance(private, ed25519.Ed25519PrivateKey):
        raise PolicyError("it is a private key, but none of Ed25519", "")
    path = f"{folder}/{facts.digest}.sig"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    with open(os.open(path, flags, 0o644), "wb") as file:  # noqa: PTH123 - as above
        file.write(private.sign(facts.content))
    return path
