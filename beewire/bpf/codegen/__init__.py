"""The code generator: typed IR to BPF instructions, with nothing but Python.

    code = codegen.generate(function, Target(4))
    code.insns, code.relocations, code.lines, code.core_relos, code.stack_bytes

`pipeline` lists the passes in their order; each pass is a module of its own.
"""

from beewire.bpf.codegen.pipeline import Code, generate

__all__ = ["Code", "generate"]
