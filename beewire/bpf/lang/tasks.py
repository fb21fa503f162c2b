"""The running task as the kernel trusts it."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.calls import current
from beewire.bpf.lang.variables import static_object

GET_CURRENT_TASK_BTF = 158


def running_task(b: Builder, node: ast.expr) -> ir.Op | None:
    """What `current(task_struct)` gives where a helper takes an object; else None.

    `bpf_get_current_task_btf` (Linux 5.11): the address that `current` reads by has no
    type, and helpers refuse it.
    """
    if not isinstance(node, ast.Call) or static_object(b, node.func) is not current:
        return None
    arguments(b, node, ("kernel_type",))
    return b.call_once(GET_CURRENT_TASK_BTF, kind=ir.Kind.PTR)
