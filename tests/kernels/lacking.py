"""Which errors say that the kernel lacks something, and not that a test failed."""

import re

from beewire.errors import CompileError, KernelError, NotSupported
from beewire.reasons import Reason

# Said of a program that an older kernel refuses, before the verifier's own words.
_LACKS = re.compile(
    r"this kernel (?:has no|does not know) [^(]*[^( ]"
    r"|this kind of program has no helper \w+ in this kernel"
)


def lacking(error: BaseException) -> str:
    """What the kernel lacks, if `error` says that it lacks something."""
    if isinstance(error, NotSupported):
        return str(error)
    if isinstance(error, CompileError) and error.diagnostics[0].code == Reason.ISA:
        return error.diagnostics[0].message
    found = _LACKS.search(str(error)) if isinstance(error, KernelError) else None
    return found[0] if found else ""
