"""One program: from its declaration to IR, and on to a ProgramSpec."""

from beewire.bpf import ir
from beewire.bpf.btf import types as btf
from beewire.bpf.lang import (
    assignments,
    call_expressions,
    named_calls,
    source,
    statements,
)
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.annotations import Wanted, wanted
from beewire.bpf.lang.builder import Builder, Frame
from beewire.bpf.lang.contexts import Arguments, Context, Tracepoint
from beewire.bpf.lang.decl import ProgramDecl
from beewire.bpf.lang.faults import Outline, Refused, Retry, Rule
from beewire.bpf.lang.ownership import check_exit
from beewire.bpf.lang.prototypes import callable_by
from beewire.bpf.lang.structs import StructType
from beewire.bpf.lang.unit import Unit
from beewire.bpf.lang.values import ContextValue, Memory
from beewire.bpf.object.spec import MapSpec, ProgramSpec
from beewire.bpf.object.target import PLAIN, Target
from beewire.errors import CompileError, Diagnostic
from beewire.hints import Any
from beewire.reasons import Reason

# These register what they lower; named here so that importing this is enough. The others
# are imported when a program has what they lower (builder.LATE).
HANDLERS = (assignments, call_expressions, named_calls, statements)


def compile_program(decl: ProgramDecl, unit: Unit | None = None) -> ir.Function:
    """The IR of a program; what it calls is in `unit`.

    Raises:
        CompileError: The source cannot be compiled.
    """
    return analyse(decl, unit).function


def analyse(decl: ProgramDecl, unit: Unit | None = None) -> Builder:
    """What the front end knows of a program, its IR included.

    Raises:
        CompileError: The source cannot be compiled.
    """
    unit = unit or Unit()
    hints: dict[Any, Any] = {}
    while True:
        try:
            return _build(decl, hints, unit)
        except Outline as outline:
            unit.outlined.add(outline.function)
        except Retry as retry:
            hints[retry.key] = retry.type


def compile_spec(
    decl: ProgramDecl, target: Target = PLAIN, unit: Unit | None = None
) -> ProgramSpec:
    """A program as instructions, with its lines and its BTF signature.

    The subprograms that it calls are in `unit`, compiled too.

    Raises:
        CompileError: The source cannot be compiled.
    """
    from beewire.bpf.codegen import StackError  # noqa: PLC0415 - as below
    from beewire.bpf.lang.linking import (  # noqa: PLC0415 - not needed to check a source
        generate,
        take_back,
    )

    unit = unit or Unit()
    while True:
        function = compile_program(decl, unit)
        scratch: MapSpec | None = None
        try:
            code = generate(function, unit, target)
        except StackError as error:
            from beewire.bpf.lang.scratch import relieved  # noqa: PLC0415 - rare

            code, scratch = relieved(
                error, decl, lambda: compile_program(decl, unit), target, unit
            )
        if not take_back(function, code, unit):
            break
    return ProgramSpec(
        decl.name,
        kind=decl.kind,
        section=decl.section,
        insns=code.insns,
        attach_kind=decl.attach_kind,
        attach_to=decl.attach_to,
        relocations=code.relocations,
        lines=source.lines(code.lines),
        core_relos=code.core_relos,
        signature=_signature(decl),
        license=decl.license,
        flags=decl.flags,
        arguments=decl.arguments,
        scratch=scratch,
    )


def _build(decl: ProgramDecl, hints: dict[Any, Any], unit: Unit) -> Builder:
    found, definition = source.find(decl.function)  # type: ignore[arg-type]  # checked there
    context = ir.Param(0, "ctx", ir.Kind.PTR)
    place = found.span(definition)
    span = place._replace(end_line=place.line, end_column=place.column)
    function = ir.Function(decl.name, (context,), span)
    builder = Builder(function, hints, decl.neutral, unit)
    builder.program = decl.kind, decl.attach_kind
    builder.helpers = callable_by(decl.kind, decl.attach_kind, decl.flags)
    builder.enter(Frame(decl.function, found, definition))  # type: ignore[arg-type]
    builder.node = definition
    try:
        _enter(builder, decl, context)
    except Rule as rule:
        refused = builder.refuse(definition, rule.code, rule.message, rule.hint)
        builder.diagnostics.append(refused.diagnostic)
    except Refused as refused:
        builder.diagnostics.append(refused.diagnostic)
    else:
        _statements(builder, definition)
        _leave(builder, definition)
    if builder.diagnostics:
        raise CompileError(in_order(builder.diagnostics))
    builder.finish()
    return builder


def _statements(b: Builder, definition: ast.FunctionDef) -> None:
    try:
        b.statements(definition.body)
    except RecursionError:
        raise CompileError((_too_deep(b, definition),)) from None


def _too_deep(b: Builder, definition: ast.FunctionDef) -> Diagnostic:
    node = max(definition.body, key=_depth)
    message = "this is nested too deeply to be compiled"
    hint = "write match for a long chain of elif, names or functions for the rest"
    return b.refuse(node, Reason.TOO_DEEP, message, hint).diagnostic


def _depth(node: ast.AST) -> int:
    depth = 0
    level = [node]
    while level:
        depth += 1
        level = [child for each in level for child in ast.iter_child_nodes(each)]
    return depth


def _enter(b: Builder, decl: ProgramDecl, context: ir.Param) -> None:
    spec = b.frame.definition.args
    params = [*spec.posonlyargs, *spec.args]
    b.frame.wanted = _returned(b, decl)
    b.context = context
    if issubclass(decl.context, Arguments):
        from beewire.bpf.lang import parameters  # noqa: PLC0415 - some hooks only

        if parameters.passes_arguments(b, params):
            parameters.enter_arguments(b, decl, context, params)
            return
    if len(params) != 1 or spec.vararg or spec.kwarg or spec.kwonlyargs:
        raise b.refuse(
            b.frame.definition,
            Reason.SIGNATURE,
            f"a program takes one parameter, {decl.name}() takes another number",
            f"def {decl.name}(ctx: {decl.context.__name__})",
        )
    name = params[0].arg
    asked = wanted(b.frame, name)
    if decl.context.is_struct and asked and isinstance(asked.type, StructType):
        b.frame.bound[name] = Memory(context, 0, asked.type, ir.Space.MEM)
        return
    cls = decl.context if asked is None else _context_class(b, decl, asked, params[0])
    if name in b.frame.stored:
        raise b.refuse(
            params[0],  # type: ignore[arg-type]  # an arg has a place like an expression
            Reason.NAME_TAKEN,
            f"{name!r} is the context: it cannot be assigned",
        )
    b.frame.bound[name] = ContextValue(context, cls)


def _returned(b: Builder, decl: ProgramDecl) -> Wanted:
    returned = wanted(b.frame, "return")
    if returned is None:
        returned = Wanted(int if _returns_values(b.frame.definition) else None)
    if decl.returns_nothing and not returned.is_none:
        raise b.refuse(
            b.frame.definition,
            Reason.RESULT,
            f"{decl.section.partition('/')[0]} programs return nothing",
            f"annotate it -> None: def {decl.name}(...) -> None:",
        )
    return returned


def _context_class(
    b: Builder, decl: ProgramDecl, asked: Wanted, node: ast.arg
) -> type[Context]:
    cls = asked.type
    if isinstance(cls, type) and issubclass(cls, Context):
        if issubclass(cls, decl.context) or decl.context is Context:
            return cls
        if issubclass(decl.context, cls):
            return decl.context
        if issubclass(decl.context, Arguments) and cls.of_probes:
            return cls
    expected = decl.context.__name__
    raise b.refuse(
        node,  # type: ignore[arg-type]  # an arg has a place like an expression
        Reason.SIGNATURE,
        f"{decl.section} passes {expected}, not {asked.name}",
        f"def {decl.name}({node.arg}: {expected})",
    )


def _returns_values(definition: ast.FunctionDef) -> bool:
    return any(
        isinstance(node, ast.Return) and node.value is not None
        for node in ast.walk(definition)
    )


def _leave(b: Builder, definition: ast.FunctionDef) -> None:
    """The end of the program: it returns the hook's neutral value, if anything."""
    b.node = definition.body[-1]
    if b.live and not b.frame.wanted.is_none:
        refused = b.refuse(
            definition.body[-1],
            Reason.RESULT,
            f"{definition.name}() does not return a value on every way",
            "end it with a return",
        )
        b.diagnostics.append(refused.diagnostic)
    check_exit(b, definition.body[-1])
    b.emit(ir.Return(ir.Const(b.neutral)))


def in_order(diagnostics: list[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Faults by file and line, each once."""
    # A function that is inlined twice has its faults twice.
    unique = {(d.filename, d.line, d.column, d.message): d for d in diagnostics}
    first = diagnostics[0].filename
    places = sorted(unique, key=lambda k: (k[0] != first, k))
    return tuple(unique[place] for place in places)


def _signature(decl: ProgramDecl) -> btf.Func:
    name = decl.context.struct_name
    if issubclass(decl.context, Tracepoint) or not name:
        context: btf.Type = btf.Ptr(None)
    else:
        # A struct, so that the kernel takes it for the context: what it may replace
        # (freplace) are functions whose arguments it knows.
        context = btf.Ptr(btf.Struct(name, 0))
    proto = btf.FuncProto(btf.Int("int", 4, signed=True), (btf.Param("ctx", context),))
    return btf.Func(decl.name, proto)
