"""One function by LLVM."""

from beewire.bpf import ir
from beewire.bpf.codegen.fault import fault
from beewire.bpf.codegen.llvm.assemble import Unexpected, assemble
from beewire.bpf.codegen.llvm.child import LlvmRefusal, compile_module
from beewire.bpf.codegen.llvm.names import Inexpressible
from beewire.bpf.codegen.llvm.text import translate
from beewire.bpf.codegen.pipeline import Code
from beewire.bpf.object.target import LEVELS, PLAIN, Target
from beewire.reasons import Reason


def generate(function: ir.Function, target: Target = PLAIN) -> Code:
    """As `codegen.generate`; the function stays as it is.

    Raises:
        CompileError: LLVM cannot express the function, or its back end refuses it.
        BeewireError: llvmlite is not installed.
    """
    level = max(level for level in LEVELS if target.at_least(level))
    try:
        module = translate(function)
        return assemble(module, compile_module(module.text, level))
    except (LlvmRefusal, Unexpected, Inexpressible) as refusal:
        raise fault(
            function.span,
            Reason.LLVM,
            f"LLVM cannot compile {function.name}(): {refusal}",
            "compile it without --optimize=llvm",
        ) from None
