"""The code generator: typed IR to BPF instructions, with nothing but Python.

    code = codegen.generate(function, Target(4))
    code.insns, code.relocations, code.lines, code.core_relos, code.stack_bytes

`pipeline` lists the passes in their order; each pass is a module of its own.
"""

from beewire.bpf.codegen.pipeline import Code, StackError, generate
from beewire.bpf.ir import Function
from beewire.bpf.object.target import Target
from beewire.errors import BeewireError
from beewire.hints import Callable


def back_end(optimize: str = "") -> Callable[[Function, Target], Code]:
    """What generates code: `generate`, or its counterpart in LLVM for "llvm".

    Raises:
        BeewireError: There is no such back end.
    """
    if not optimize:
        return generate
    if optimize != "llvm":
        raise BeewireError(f"{optimize!r} is no back end: there is 'llvm'")
    from beewire.bpf.codegen import llvm  # noqa: PLC0415 - most programs do without

    return llvm.generate


__all__ = ["Code", "StackError", "back_end", "generate"]
