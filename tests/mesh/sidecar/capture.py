"""What a real Envoy says of itself, as the golden files have it.

`python -m tests.mesh.sidecar.capture` writes them anew (root, the lab's programs).
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

from beewire.mesh.lab import Lab, sidecar
from beewire.mesh.lab.identities import issue
from beewire.mesh.lab.pods import PROXY_UID
from beewire.mesh.lab.sidecar import Sidecar
from beewire.mesh.sidecar import Admin, Dump, inbound, outbound, upstream
from tests.mesh.sidecar import variants

HERE = Path(__file__).parent
DUMP, JUDGED = HERE / "everything.json", HERE / "everything.txt"


@contextlib.contextmanager
def everything(lab: Lab) -> Iterator[Sidecar]:
    """Pod B's sidecar with all variants, until the end of the block."""
    (identity,) = issue(lab.run.state / "tls", ["b"], PROXY_UID).values()
    config = replace(variants.config(), identity=identity)
    with sidecar(lab.b, config, variants.edit(lab.b.state)) as running:
        yield running


def judged(dump: Dump) -> str:
    """What is made of each port and destination, line by line."""
    own, lines = ip_address(variants.B), []
    for port, special in variants.INBOUND.items():
        found = inbound(dump, own, port)
        lines.append(f"inbound {port}, {special}: mTLS {found.mtls.value}")
        lines += [f"    {each.reason.value}: {each}" for each in found.refusals]
        lines += ["    L4-only"] if found.is_l4 else []
    for (text, port), special in variants.DESTINATIONS.items():
        place = ip_address(text), port
        left = outbound(dump, *place)
        lines.append(f"outbound {text} port {port}, {special}")
        lines += [f"    {each.reason.value}: {each}" for each in left.refusals]
        if left.leads_to is not None:
            lines.append(f"    L4-only, to {left.leads_to[0]} port {left.leads_to[1]}")
        lines += [f"    the sidecar's own: {each}" for each in upstream(dump, *place)]
    return "\n".join(lines) + "\n"


def without_bootstrap(text: bytes) -> str:
    """A dump without Envoy's own extensions and options, which are most of it."""
    parts = [
        part
        for part in json.loads(text)["configs"]
        if not part["@type"].endswith("BootstrapConfigDump")
    ]
    return json.dumps({"configs": parts}, separators=(",", ":")) + "\n"


def main() -> None:
    """Write the golden files."""
    with Lab() as lab, everything(lab), Admin(lab.b.namespace.path) as admin:
        DUMP.write_text(without_bootstrap(admin.text()))
        JUDGED.write_text(judged(admin.dump()))


if __name__ == "__main__":
    main()
