"""A function of the typed IR as a module of LLVM IR, in LLVM's own notation.

What only our loader knows (maps, data sections, functions elsewhere, CO-RE facts) becomes
an external symbol `@bw.N`, and is found again as a relocation of the object file. A field
of the context is an offset that no context has, `MAGIC` + 8 n, since the kernel wants
context offsets inside of instructions. Source positions are line numbers that count the
function's spans.
"""

from beewire.bpf import ir
from beewire.bpf.codegen.llvm import memory, numbers
from beewire.bpf.codegen.llvm.names import Inexpressible, Module
from beewire.hints import Callable

_HEAD = """\
target datalayout = "e-m:e-p:64:64-i64:64-i128:128-n32:64-S128"
target triple = "bpfel"
%opaque = type opaque
declare ptr @llvm.preserve.static.offset(ptr)
declare i64 @llvm.bpf.passthrough.i64.i64(i32, i64)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare i16 @llvm.bswap.i16(i16)
declare i32 @llvm.bswap.i32(i32)
declare i64 @llvm.bswap.i64(i64)
"""
_TAIL = """\
attributes #0 = { nounwind "no-builtins" "no-jump-tables"="true" }
!llvm.dbg.cu = !{!0}
!llvm.module.flags = !{!1}
!0 = distinct !DICompileUnit(language: DW_LANG_C99, file: !2, producer: "beewire", \
emissionKind: FullDebug)
!1 = !{i32 2, !"Debug Info Version", i32 3}
!2 = !DIFile(filename: "program", directory: "/")
!3 = distinct !DISubprogram(name: "program", file: !2, type: !4, unit: !0, \
spFlags: DISPFlagDefinition)
!4 = !DISubroutineType(types: !5)
!5 = !{null}
"""


def translate(function: ir.Function) -> Module:
    """The module, with what its symbols and line numbers stand for.

    Raises:
        Inexpressible: The function holds what only our own generator can make.
    """
    module = Module(function)
    for block in function.blocks:
        module.label(block)
        for op in block.ops:
            module.span = op.span
            rule = _RULES.get(type(op))
            if rule is None:
                raise Inexpressible(f"it has no {type(op).__name__}")
            rule(module, op)
    params = ", ".join(
        f"{module.type(param)} %p{param.index}" for param in function.params
    )
    start = [*module.allocas, f"br label %{module.block(function.blocks[0])}"]
    body = "\n".join(["start:", *start, *module.lines])
    module.text = (
        f"{_HEAD}{module.declared()}"
        f"define i64 @program({params}) #0 !dbg !3 {{\n{body}\n}}\n{_TAIL}"
        f"{module.positions()}"
    )
    return module


def _get(m: Module, op: ir.GetLocal) -> None:
    m.define(op, f"load {m.type(op)}, ptr {m.local(op.local)}")


def _set(m: Module, op: ir.SetLocal) -> None:
    kind = "ptr" if op.local.kind is ir.Kind.PTR else "i64"
    value = m.pointer(op.args[0]) if kind == "ptr" else m.integer(op.args[0])
    m.put(f"store {kind} {value}, ptr {m.local(op.local)}")


def _call(m: Module, op: ir.Call) -> None:
    if isinstance(op.target, int):
        callee = f"inttoptr (i64 {op.target} to ptr)"
    else:
        kind = "kfunc" if op.call is ir.CallKind.KFUNC else "subprogram"
        callee = m.callee(kind, op)
    args = ", ".join(f"{m.type(arg)} {m.value(arg)}" for arg in op.args)
    result = "ptr" if op.kind is ir.Kind.PTR else "i64"
    m.define(op, f"call {result} {callee}({args})")


def _return(m: Module, op: ir.Return) -> None:
    m.put(f"ret i64 {m.integer(op.args[0]) if op.args else 0}")


def _jump(m: Module, op: ir.Jump) -> None:
    m.put(f"br label %{m.block(op.target)}")


def _branch(m: Module, op: ir.Branch) -> None:
    test = numbers.test(m, op)
    m.put(f"br i1 {test}, label %{m.block(op.then)}, label %{m.block(op.orelse)}")


_RULES: dict[type[ir.Op], Callable[..., None]] = {
    ir.Atomic: memory.atomic,
    ir.Binary: numbers.binary,
    ir.Branch: _branch,
    ir.Budget: numbers.budget,
    ir.ByteSwap: numbers.byte_swap,
    ir.Call: _call,
    ir.Copy: memory.copy,
    ir.CoreValue: memory.core_value,
    ir.Extend: numbers.extend,
    ir.FieldAddress: memory.field_address,
    ir.GetLocal: _get,
    ir.Jump: _jump,
    ir.Load: memory.load,
    ir.Return: _return,
    ir.SetLocal: _set,
    ir.Store: memory.store,
    ir.Zero: memory.zero,
}
