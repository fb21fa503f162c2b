"""Where each CPU's list of free pages is long, large bodies by the short path are dear.

Who writes takes pages, and who reads gives them back: to the list of the reader's CPU, which
keeps them until it overflows. Then its oldest ones go to the writer, and are in no cache.
Since Linux 6.7 these lists grow by themselves.
"""

import os
import re
from pathlib import Path

ZONES = Path("/proc/zoneinfo")
_MOST = 32 << 20  # bytes: what is no longer fits a cache
_GROWS_TO = re.compile(r"^\s*high_max:\s*(\d+)", re.MULTILINE)


def advice(zones: str) -> list[str]:
    """What to tell a node that has these `zones` (/proc/zoneinfo): nothing, or a sentence."""
    longest = max(map(int, _GROWS_TO.findall(zones)), default=0)
    longest *= os.sysconf("SC_PAGE_SIZE")
    if longest <= _MOST:
        return []
    told = (
        f"a CPU's list of free pages may grow to {longest >> 20:,} MB here, and bodies of a"
        " megabyte take as much CPU time by the short path as by TCP then, or more: `sysctl"
        " -w vm.percpu_pagelist_high_fraction=8000` keeps it short"
    )
    return [told]
