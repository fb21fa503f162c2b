"""Names: what they stand for, and what an assignment makes of them."""

import builtins

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.builder import Builder, Frame, lowers
from beewire.bpf.lang.byte_order import network_of
from beewire.bpf.lang.decl import GlobalDecl, MapDecl
from beewire.bpf.lang.faults import Follows, Retry, Rule, near
from beewire.bpf.lang.flow import Variable
from beewire.bpf.lang.ints import check_64, check_literal, literal_type, wide
from beewire.bpf.lang.memory import read_kernel, store
from beewire.bpf.lang.ownership import check_assigned, check_usable, linked
from beewire.bpf.lang.types import (
    I64,
    U64,
    ArrayType,
    CharsType,
    IntType,
    Network,
    is_enum,
    text_of,
)
from beewire.bpf.lang.values import (
    Comm,
    Content,
    ContextValue,
    Fields,
    Int,
    KernelField,
    Literal,
    Memory,
    Nothing,
    Pointer,
    Static,
    Value,
    is_cell,
)
from beewire.hints import Any, Iterator, ModuleType
from beewire.reasons import Reason

COMM_SIZE = 16  # TASK_COMM_LEN


@lowers(ast.Name)
def name(b: Builder, node: ast.Name) -> Value:
    """A name that is read."""
    frame = b.frame
    if node.id in frame.bound:
        value = frame.bound[node.id]
        if isinstance(value, Pointer):
            check_usable(b, value, node.id)
        return value
    variable = find(frame, node.id)
    if variable is not None:
        if variable.template is None:
            _refuse_shadow(frame, node.id)
        return read(b, variable)
    return wrap(outer(frame, node.id))


def find(frame: Frame, name: str) -> Variable | None:
    """The variable called `name`, None where it is not the function's own."""
    variable = frame.variables.get(name)
    if variable is None and name in frame.stored:
        variable = frame.variables[name] = Variable(name)
    return variable


def read(b: Builder, variable: Variable) -> Value:
    """What `variable` holds here.

    Raises:
        Rule: It may not be assigned here, or what it held is gone.
    """
    if variable.broken:
        raise Follows
    # Of dead code only the kinds are checked.
    if variable.template is None or (b.live and variable not in b.flow.assigned):
        if variable.gone:
            raise Rule(Reason.GONE, variable.gone)
        raise Rule(
            Reason.UNASSIGNED,
            f"{variable.name!r} may not be assigned here",
            f"give it a value on every way that leads here: {variable.name} = 0",
        )
    template = variable.template
    if isinstance(template, Nothing) or _is_own(variable):
        return template
    assert variable.local is not None
    op = b.emit(ir.GetLocal(variable.local))
    if isinstance(template, Pointer):
        value = template.at(op)
        linked(b, variable, value)
        unknown = b.live and variable not in b.flow.sure
        value.nullable = template.can_be_none and unknown
        if variable.flag is not None and isinstance(value, Memory):
            value.flag = _flag(b, variable.flag, value)
        return value
    assert variable.type is not None
    adapts = (b.frame.definition, variable.name) if variable.adapts else None
    return Int(op, variable.type, adapts)


def _flag(b: Builder, local: ir.Local, value: Memory) -> ir.Op:
    return b.emit(ir.GetLocal(local)) if value.nullable else ir.Const(1)


def _is_own(variable: Variable) -> bool:
    """Whether the variable is memory on the stack, rather than refers to some."""
    template = variable.template
    return isinstance(template, Memory) and template.on_stack and variable.local is None


def outer(frame: Frame, name: str) -> Any:
    """The Python object that a name of the module, or of an outer function, is bound to.

    Raises:
        Rule: There is none.
    """
    function = frame.function
    if name in function.__code__.co_freevars and function.__closure__ is not None:
        cell = function.__closure__[function.__code__.co_freevars.index(name)]
        try:
            return name_declaration(cell.cell_contents, name)
        except ValueError:
            raise Rule(
                Reason.UNASSIGNED, f"{name!r} is not assigned yet in the outer function"
            ) from None
    for scope in (function.__globals__, vars(builtins)):
        if name in scope:
            return name_declaration(scope[name], name)
    known = list(_visible(frame))
    hint = near(name, known) or "import it, or define it in the module"
    raise Rule(Reason.UNDEFINED, f"{name!r} is not defined", hint)


def static_object(b: Builder, node: ast.expr) -> Any:
    """The Python object that `table` or `owner.table` names; None for all else."""
    if isinstance(node, ast.Name):
        bound = b.frame.bound.get(node.id)
        if bound is not None or node.id in b.frame.stored:
            return bound.obj if isinstance(bound, Static) else None
        return outer(b.frame, node.id)
    if isinstance(node, ast.Attribute):
        owner = static_object(b, node.value)
        if isinstance(owner, ModuleType | type):
            return name_declaration(getattr(owner, node.attr, None), node.attr)
    return None


def name_declaration(found: Any, name: str) -> Any:
    """`found`; a map or global without a name gets that of the Python name."""
    if isinstance(found, MapDecl | GlobalDecl) and not found.name:
        found.name = name
    return found


def _visible(frame: Frame) -> Iterator[str]:
    yield from frame.variables
    yield from frame.bound
    yield from frame.function.__code__.co_freevars
    yield from frame.function.__globals__


def wrap(found: Any) -> Value:
    """A Python object as a value of the program.

    Raises:
        Rule: Programs have no such thing.
    """
    if found is None:
        return Nothing()
    if isinstance(found, Network):
        return Literal(found)
    if isinstance(found, int):
        return Literal(check_64(int(found)))
    if isinstance(found, float):
        raise Rule(
            Reason.FLOAT,
            f"{found!r} is a float",
            "programs have integers only: scale it",
        )
    if isinstance(found, GlobalDecl) and found.is_place:
        return global_memory(found)
    return Static(found)


def global_memory(decl: GlobalDecl) -> Memory:
    """A global's place in its section.

    Raises:
        Rule: It has none: the module was not collected.
    """
    if decl.offset < 0:
        raise Rule(
            Reason.GLOBAL,
            f"the global {decl.name!r} has no place yet",
            "globals belong to the module that declares them, at its top level",
        )
    if decl.option:  # whoever loads it finds it by its name
        base = ir.GlobalRef(decl.name, 0)
    else:
        base = ir.GlobalRef(decl.section, decl.offset)
    return Memory(
        base,
        0,
        decl.type,
        ir.Space.MAP,
        shared=not decl.read_only,
        read_only=decl.read_only,
    )


def assign(b: Builder, name: str, value: Value) -> None:
    """`name = value`.

    Raises:
        Rule: The variable cannot hold it.
    """
    variable = find(b.frame, name) or b.frame.variables.setdefault(name, Variable(name))
    if variable.template is None:
        _refuse_shadow(b.frame, name)
    if variable.fixed:
        raise Rule(
            Reason.NAME_TAKEN,
            f"{name!r} belongs to the 'with' block",
            "use another name",
        )
    variable.broken = False
    value = _held(b, value)
    match value:
        case Int() | Literal():
            _assign_integer(b, variable, value)
        case Fields() | Content():
            _assign_made(b, variable, value)
        case Memory() if value.unnamed:
            _adopt(b, variable, value)
        case Memory() if value.on_stack:
            _refer_to_stack(b, variable, value)
        case ContextValue():
            raise Rule(
                Reason.ALIAS, "the context has one name only", "use the parameter"
            )
        case Pointer():
            _assign_pointer(b, variable, value)
        case Nothing():
            _assign_none(b, variable)
        case _:
            _refuse(variable, value)


def _held(b: Builder, value: Value) -> Value:
    """What a variable holds of `value`: texts become its own."""
    if isinstance(value, KernelField):
        value = read_kernel(b, value)
    if isinstance(value, Comm):
        return Content(text_of(COMM_SIZE), value)
    if isinstance(value, Memory) and isinstance(value.type, CharsType):
        # A text is a value, as a str is; an array is referred to, as a list is.
        return value if value.nullable else Content(value.type, value)
    return Content(value.type, value) if isinstance(value, KernelField) else value


def declare(b: Builder, name: str, type_: IntType) -> Variable:
    """Note the annotation of a variable: it narrows what is assigned.

    Raises:
        Rule: It is annotated, or used, otherwise before.
    """
    variable = find(b.frame, name) or b.frame.variables.setdefault(name, Variable(name))
    if variable.declared is not None and variable.declared is not type_:
        raise Rule(
            Reason.DECLARED, f"{name!r} is declared {variable.declared.name} before"
        )
    if variable.declared is None and variable.template is not None:
        raise Rule(
            Reason.DECLARED,
            f"{name!r} is used before it is declared",
            "annotate the first use",
        )
    variable.declared = variable.type = type_
    return variable


def _refuse_shadow(frame: Frame, name: str) -> None:
    # Python would make a local of it, and leave the global as it is.
    found = frame.function.__globals__.get(name)
    if isinstance(found, GlobalDecl):
        field = "field" if found.is_struct else "value"
        raise Rule(
            Reason.NAME_TAKEN,
            f"{name!r} is a global",
            f"assign what it holds: {name}.{field} = ...",
        )
    if isinstance(found, MapDecl):
        raise Rule(Reason.NAME_TAKEN, f"{name!r} is a map", "use another name")


def _refuse(variable: Variable, value: Value) -> None:
    hint = ""
    if isinstance(value, Static) and isinstance(value.obj, GlobalDecl):
        hint = f"read what it holds: {value.obj.name}.value"
    elif isinstance(value, Static):
        hint = "use it where it stands: names in programs hold numbers and references"
    raise Rule(
        Reason.CHANGES_KIND, f"{variable.name!r} cannot hold {value.describe()}", hint
    )


def _assign_integer(b: Builder, variable: Variable, value: Int | Literal) -> None:
    if isinstance(variable.template, Nothing):
        raise Rule(
            Reason.CHANGES_KIND,
            f"{variable.name!r} is None before: only references can be",
            "use a number that means none, such as 0",
        )
    if not isinstance(variable.template, Int | None):
        raise _other_kind(variable, value)
    key = (b.frame.definition, variable.name)
    if variable.declared is not None:
        type_ = variable.declared
        if isinstance(value, Literal):
            check_literal(value.value, type_)
    elif variable.type is None:
        type_ = _first_type(b, variable, value, key)
    else:
        type_ = variable.type
        _check_sign(variable, value, key)
    if variable.local is None:
        variable.local = ir.Local(variable.name, ir.Kind.INT)
    held = b.narrow(value, type_)
    variable.type = type_
    variable.template = held
    b.emit(ir.SetLocal(variable.local, held.op))
    b.flow = b.flow.assign(variable)


def _first_type(
    b: Builder, variable: Variable, value: Int | Literal, key: tuple[object, str]
) -> IntType:
    variable.adapts = isinstance(value, Literal)
    hint = b.hints.get(key)
    if isinstance(value, Int):
        kind = wide(value.type)
        return hint if hint is not None and kind.network else kind
    if hint is not None:
        check_literal(value.value, hint)
    return hint or literal_type(value.value)


def _check_sign(
    variable: Variable, value: Int | Literal, key: tuple[object, str]
) -> None:
    type_ = variable.type
    assert type_ is not None
    _check_order(variable, value, key)
    if isinstance(value, Literal):
        if type_ is U64 and value.value < 0 and variable.adapts:
            raise Retry(key, I64)
        check_literal(value.value, type_)
        return
    if type_.signed == value.type.signed or (type_ is I64 and value.type.bits < 64):
        variable.adapts = False
        return
    if variable.adapts and value.type.signed:
        raise Retry(key, I64)
    kinds = ("signed", "unsigned") if type_.signed else ("unsigned", "signed")
    raise Rule(
        Reason.CHANGES_KIND,
        f"{variable.name!r} holds {kinds[0]} integers; this one is {kinds[1]}",
        f"say what it is where it is first assigned: {variable.name}: i64 = ...",
    )


def _check_order(
    variable: Variable, value: Int | Literal, key: tuple[object, str]
) -> None:
    """A variable is in network order by all that it is given, or by nothing."""
    type_ = variable.type
    assert type_ is not None
    if type_.is_big_endian:
        return
    given = value.type if isinstance(value, Int) else value.value
    if isinstance(given, IntType) and given.is_big_endian:
        if variable.adapts or type_.network == given.network:
            raise Retry(key, given)
    elif type_.network and network_of(given) != type_.network:
        raise Retry(key, U64)


def _other_kind(variable: Variable, value: Value) -> Rule:
    held = variable.template
    assert held is not None
    was, now = held.describe(), value.describe()
    hint = "use another name"
    if was == now:
        was, now = _ownership(held, was), _ownership(value, now)
    if was == now and isinstance(held, Memory) and isinstance(value, Memory):
        was = f"a reference to {held.describe()} {held.where}"
        now = f"one {value.where}"
        hint = "use another name: what refers to each is checked in its own way"
    if is_cell(held) and isinstance(value, Int | Literal):
        hint = f"assign what it refers to: {variable.name}.value = ..."
    if isinstance(held, Memory) and isinstance(held.type, ArrayType):
        hint = f"assign its elements: {variable.name}[:] = ..."
    return Rule(
        Reason.CHANGES_KIND, f"{variable.name!r} holds {was}; this is {now}", hint
    )


def _ownership(value: Value, described: str) -> str:
    refers = isinstance(value, Memory) and not value.on_stack
    return f"a reference to {described}" if refers else f"{described} of its own"


def _assign_made(b: Builder, variable: Variable, value: Fields | Content) -> None:
    held = variable.template
    if held is None:
        slot = b.slot(variable.name, value.type.size)
        place = Memory(slot, 0, value.type, ir.Space.STACK)
        variable.template = place
        store(b, place, value)
    elif _is_own(variable) and isinstance(held, Memory) and held.type is value.type:
        _check_not_referred(b, variable, held)
        store(b, held, value)
    else:
        raise _other_kind(variable, value)
    b.flow = b.flow.assign(variable)


def _adopt(b: Builder, variable: Variable, value: Memory) -> None:
    # The struct that an inlined function returned.
    held = variable.template
    if held is None:
        variable.template = Memory(value.op, value.offset, value.type, value.space)
    elif _is_own(variable) and isinstance(held, Memory) and held.type is value.type:
        _check_not_referred(b, variable, held)
        store(b, held, value)
    else:
        raise _other_kind(variable, value)
    b.flow = b.flow.assign(variable)


def _check_not_referred(b: Builder, variable: Variable, held: Memory) -> None:
    # In Python the other name would keep the old content.
    if (other := b.referred.get(held.op)) is not None:
        raise Rule(
            Reason.ALIAS,
            f"{other!r} refers to a part of {variable.name!r}, which would be replaced",
            "assign its fields one by one, or use another name",
        )


def _is_all_of(variable: Variable, value: Memory) -> bool:
    held = variable.template
    if not _is_own(variable) or not isinstance(held, Memory) or value.offset:
        return False
    return held.op is value.op and held.type is value.type


def _refer_to_stack(b: Builder, variable: Variable, value: Memory) -> None:
    """A variable that refers to a field or an element on the stack."""
    if any(
        _is_all_of(each, value) for v in b.variables.values() for each in v.values()
    ):
        raise Rule(
            Reason.ALIAS,
            f"{variable.name!r} would be a second name for a struct on the stack",
            "use the first name, or take a copy: .copy()",
        )
    _check_aligned(value, 8)
    root = value.op
    while isinstance(root, ir.Binary):
        root = root.args[0]
    b.keep(root)
    b.referred.setdefault(root, variable.name)
    _assign_pointer(b, variable, value)


def _assign_none(b: Builder, variable: Variable) -> None:
    """`name = None`: what it refers to otherwise is told by other assignments."""
    key = b.frame.definition, variable.name
    if variable.template is None:
        variable.template = b.hints.get(key) or Nothing()
    held = variable.template
    if isinstance(held, Pointer) and held.can_be_none and not _is_own(variable):
        check_assigned(b, variable, held.at(ir.Const(0)))
        if isinstance(held, Memory) and held.flag is not None:
            variable.flag = variable.flag or ir.Local(f"{variable.name}?", ir.Kind.INT)
            b.emit(ir.SetLocal(variable.flag, ir.Const(0)))
    elif not isinstance(held, Nothing):
        raise Rule(
            Reason.CHANGES_KIND,
            f"{variable.name!r} cannot be None: only references can",
            "use a number that means none, such as 0",
        )
    if variable.local is None:
        variable.local = ir.Local(variable.name, ir.Kind.PTR)
    b.emit(ir.SetLocal(variable.local, ir.Const(0)))
    b.flow = b.flow.assign(variable).narrow(variable, is_none=True)


def _check_aligned(value: Memory, align: int) -> None:
    # What a name refers to is read in words as wide as its type has them, or `align`.
    if value.align_at(0) < min(value.type.align, align):
        raise Rule(
            Reason.ALIGNMENT,
            f"{value.describe()} is not aligned on the stack: nothing can refer to it",
            "reach it through the struct, or take a copy: .copy()",
        )


def _check_like(variable: Variable, held: Value, value: Pointer) -> None:
    if _is_own(variable) or not value.same_kind(held):
        raise _other_kind(variable, value)
    if isinstance(value, Memory) and value.lent and isinstance(held, Memory):
        _check_aligned(value, held.align_at(0))


def _assign_pointer(b: Builder, variable: Variable, value: Pointer) -> None:
    held = variable.template
    if variable.declared is not None:
        raise Rule(Reason.CHANGES_KIND, f"{variable.name!r} is declared an integer")
    check_assigned(b, variable, value)
    if isinstance(held, Nothing):
        # What the name can refer to is known now.
        raise Retry((b.frame.definition, variable.name), value)
    if held is not None:
        _check_like(variable, held, value)
    if isinstance(value, Memory) and value.offset:
        moved = value.at(b.address(value))
        moved.references, moved.owns = value.references, value.owns
        value = moved
    if held is None:
        variable.template = value
    if variable.local is None:
        variable.local = ir.Local(variable.name, ir.Kind.PTR)
    b.emit(ir.SetLocal(variable.local, value.op))
    if isinstance(value, Memory) and value.flag is not None:
        variable.flag = variable.flag or ir.Local(f"{variable.name}?", ir.Kind.INT)
        b.emit(ir.SetLocal(variable.flag, value.flag))
    b.flow = b.flow.assign(variable)
    if value.references:
        b.flow = b.flow.link(variable, value)
    if not value.nullable:
        b.flow = b.flow.narrow(variable, is_none=False)


def enum_member(cls: type, name: str) -> int | None:
    """The number of an enum's member, or None."""
    if not is_enum(cls):
        return None
    member = cls.__members__.get(name)
    return None if member is None else int(member)
