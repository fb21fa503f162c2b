"""Run code in a process that has some capabilities only."""

import ctypes
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

from beewire.bpf.kernel import privilege

CHECKOUT = Path(__file__).parent.parent
VERSION = 0x2008_0522  # _LINUX_CAPABILITY_VERSION_3
CAPSET = {"x86_64": 126, "ppc64le": 184}.get(os.uname().machine, 91)


def keep(*names: str) -> None:
    """Let this process have no capabilities in effect but these.

    They stay permitted: `keep` may give others later.
    """
    permitted = int(privilege._status("CapPrm"), 16)
    effective = sum(1 << privilege.CAPABILITIES[name] for name in names)
    libc = ctypes.CDLL(None, use_errno=True)
    low, high = 0xFFFF_FFFF, 32
    words = [effective & low, permitted & low, 0]
    words += [effective >> high, permitted >> high, 0]
    header, data = struct.pack("=Ii", VERSION, 0), struct.pack("=6I", *words)
    if libc.syscall(CAPSET, header, data):
        raise OSError(ctypes.get_errno(), "capset")


def run(code: str) -> dict[str, str]:
    """What `code`, in a process of its own, puts into `told`."""
    script = (
        "import json\nfrom tests.capabilities import keep\ntold = {}\n"
        f"{code}\nprint(json.dumps(told))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found
