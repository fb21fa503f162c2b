"""Who pods are: keys and certificates, made on the fly. Needs the extra `lab`.

Every pod has a key on P-256 and a certificate for `spiffe://cluster.local/ns/lab/sa/NAME`,
signed by one root of the lab's own, as istiod signs them.
"""

import datetime as dt
import os
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from beewire.mesh.lab.description import Identity
from beewire.mesh.lab.tls import TRUST_DOMAIN

DAY = dt.timedelta(days=1)


def issue(directory: Path, names: Iterable[str], owner: int) -> dict[str, Identity]:
    """Make a root and a certificate a name below `directory`; only `owner` reads keys."""
    directory.mkdir(exist_ok=True)
    directory.chmod(0o755)
    root_key = ec.generate_private_key(ec.SECP256R1())
    root_name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "lab.bw")])
    root = _signed(root_name, root_key, root_name, root_key, [_authority()])
    root_path = _written(directory / "root.pem", _pem(root))
    issued = {}
    for name in names:
        key = ec.generate_private_key(ec.SECP256R1())
        uri = x509.UniformResourceIdentifier(f"{TRUST_DOMAIN}ns/lab/sa/{name}")
        alternatives = (x509.SubjectAlternativeName([uri]), True)
        leaf = _signed(x509.Name([]), key, root_name, root_key, [alternatives])
        chain = _written(directory / f"{name}.pem", _pem(leaf))
        secret = _written(directory / f"{name}.key", _key_pem(key), mode=0o400)
        os.chown(secret, owner, owner)
        issued[name] = Identity(chain, secret, root_path)
    return issued


def _authority() -> tuple[x509.ExtensionType, bool]:
    return x509.BasicConstraints(ca=True, path_length=0), True


def _signed(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    extensions: Iterable[tuple[x509.ExtensionType, bool]],
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(issuer_key, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _written(path: Path, data: bytes, mode: int = 0o444) -> Path:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(data)
    path.chmod(mode)
    return path
