"""LLVM as the second back end: for large programs, and to compare our own with.

    code = llvm.generate(function, isa_level=3)  # as codegen.generate

`text` writes the function as LLVM IR, `child` has it compiled by a process of its own
(`worker`), `assemble` takes the instructions out of the object file. The extra `llvm`
installs llvmlite.
"""

from beewire.bpf.codegen.llvm.generate import generate

__all__ = ["generate"]
