"""Methods of the kernel's objects in values, and `obj_new` and `obj_drop`."""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments, required, static_type
from beewire.bpf.lang.attributes import present
from beewire.bpf.lang.btf_types import to_btf
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.call_expressions import BY_NAME
from beewire.bpf.lang.callbacks import callback
from beewire.bpf.lang.critical import TRACING, end_of
from beewire.bpf.lang.faults import near
from beewire.bpf.lang.maps.common import map_ref, number, value_memory
from beewire.bpf.lang.objects import KptrType, RootType
from beewire.bpf.lang.ownership import acquire, give_back
from beewire.bpf.lang.passing import UNKNOWN
from beewire.bpf.lang.structs import Kernel, StructType
from beewire.bpf.lang.types import I64, ObjectType
from beewire.bpf.lang.values import (
    Int,
    KernelMemory,
    Link,
    Memory,
    Nothing,
    Pointer,
    Reference,
    Value,
)
from beewire.hints import Callable
from beewire.reasons import Reason

TIMER_INIT = 169
TIMER_SET_CALLBACK = 170
TIMER_START = 171
TIMER_CANCEL = 172
KPTR_XCHG = 194
TYPE_ID_LOCAL = 6  # enum bpf_core_relo_kind

# What gives back the kernel's own objects that a Kptr may hold.
_RELEASE = {
    "task_struct": "bpf_task_release",
    "cgroup": "bpf_cgroup_release",
    "bpf_cpumask": "bpf_cpumask_release",
}

Method = Callable[[Builder, ast.Call, Memory], Value]


def method(b: Builder, node: ast.Call, func: ast.Attribute, owner: Memory) -> Value:
    """`value.timer.start(...)`: an operation of an object of the kernel.

    Raises:
        Refused: It has no such operation.
    """
    assert isinstance(owner.type, ObjectType)
    key = "kptr" if isinstance(owner.type, KptrType) else owner.type.name
    known = METHODS.get(key, {})
    if func.attr in known:
        return known[func.attr](b, node, owner)
    offered = sorted(known)
    instead = f"it has {', '.join(offered)}" if offered else "with lock(value):"
    message = f"{owner.describe()} has no {func.attr}()"
    hint = near(func.attr, offered) or instead
    raise b.refuse(func, Reason.NO_SUCH_CALL, message, hint)


def _new(b: Builder, node: ast.Call) -> Value:
    [argument] = required(arguments(b, node, ("type",)))
    type_ = static_type(b, argument)
    if not isinstance(type_, StructType):
        raise b.refuse(argument, Reason.WRONG_ARGUMENT, "obj_new() makes structs only")
    fact = ir.CoreField(to_btf(type_), "0", TYPE_ID_LOCAL, 0)
    type_id = b.emit(ir.CoreValue(fact))
    op = b.kfunc("bpf_obj_new_impl", type_id, ir.Const(0), kind=ir.Kind.PTR)
    return acquire(b, _object(op, type_), _dropped(b, type_.name))


def _drop(b: Builder, node: ast.Call) -> Value:
    [argument] = required(arguments(b, node, ("node",)))
    value = b.expr(argument)
    if not isinstance(value, Memory) or not isinstance(value.type, StructType):
        message = f"what obj_new() made is needed here, not {value.describe()}"
        raise b.refuse(argument, Reason.WRONG_ARGUMENT, message)
    present(b, value, argument)
    give_back(b, value, argument, "obj_drop()")
    b.kfunc("bpf_obj_drop_impl", b.address(value), ir.Const(0))
    return Nothing()


def _object(op: ir.Op, type_: StructType) -> Memory:
    return Memory(op, 0, type_, ir.Space.MEM, nullable=True)


def _dropped(b: Builder, name: str) -> Reference:
    return Reference(
        f"the {name}",
        "give it back on every way by obj_drop(), or put it where it belongs",
        lambda held: b.kfunc("bpf_obj_drop_impl", held, ir.Const(0)),
    )


# Lists and trees.


def _root(b: Builder, node: ast.Call, owner: Memory) -> tuple[ir.Op, RootType]:
    root = owner.type
    assert isinstance(root, RootType)
    if not b.locked:
        message = f"{root.noun} is used under the lock of its value only"
        raise b.refuse(node, Reason.OBJECT, message, "with lock(value): ...")
    return b.address(owner), root


def _linked(b: Builder, node: ast.expr, root: RootType) -> tuple[Memory, ir.Op]:
    """A node that is passed, and the address of the field that it is linked by."""
    value = b.expr(node)
    if not isinstance(value, Memory) or value.type is not root.node:
        message = f"a {root.node.name} is needed here, not {value.describe()}"
        raise b.refuse(node, Reason.WRONG_ARGUMENT, message)
    present(b, value, node)
    return value, b.address(value.part(root.link.offset, root.link.type))


def _push(kfunc: str) -> Method:
    def lower(b: Builder, node: ast.Call, owner: Memory) -> Value:
        [argument] = required(arguments(b, node, ("node",)))
        head, root = _root(b, node, owner)
        value, link = _linked(b, argument, root)
        give_back(b, value, argument, f"{ast.unparse(node.func)}()")
        zero = ir.Const(0)
        return Int(b.kfunc(kfunc, head, link, zero, zero), I64)

    return lower


def _pop(kfunc: str) -> Method:
    def lower(b: Builder, node: ast.Call, owner: Memory) -> Value:
        arguments(b, node, ())
        head, root = _root(b, node, owner)
        end_of(b, b.under_lock, f"{ast.unparse(node.func)}()")
        link = b.kfunc(kfunc, head, kind=ir.Kind.PTR)
        return _taken(b, link, root)

    return lower


def _taken(b: Builder, link: ir.Op, root: RootType) -> Memory:
    found = _object(_container(b, link, root), root.node)
    return acquire(b, found, _dropped(b, root.node.name))


def _container(b: Builder, link: ir.Op, root: RootType) -> ir.Op:
    """The struct that a link lies in; no arithmetic is done with what may be null."""
    if not root.link.offset:
        return link
    place = ir.Local("node", ir.Kind.PTR)
    some, none, done = b.target("some"), b.target("none"), b.target("node")
    b.branch(ir.CmpOp.EQ, link, ir.Const(0), none, some)
    b.start(some)
    start = b.binary(ir.BinOp.SUB, link, ir.Const(root.link.offset))
    b.emit(ir.SetLocal(place, start))
    b.jump(done)
    b.start(none)
    b.emit(ir.SetLocal(place, ir.Const(0)))
    b.jump(done)
    b.start(done)
    return b.emit(ir.GetLocal(place))


def _first(b: Builder, node: ast.Call, owner: Memory) -> Value:
    arguments(b, node, ())
    where, root = _root(b, node, owner)
    link = b.kfunc("bpf_rbtree_first", where, kind=ir.Kind.PTR)
    found = _object(_container(b, link, root), root.node)
    return _borrow(b, found, b.under_lock, root.node.name)


def _borrow(b: Builder, value: Value, until: list[Reference], name: str) -> Value:
    """`value` as one that is good until a block ends."""
    assert isinstance(value, Pointer)
    reference = Reference(f"the {name}", "", lambda _: None)
    reference.place = (b.frame, b.node)
    value.references = frozenset({reference})
    until.append(reference)
    return value


def _remove(b: Builder, node: ast.Call, owner: Memory) -> Value:
    [argument] = required(arguments(b, node, ("node",)))
    where, root = _root(b, node, owner)
    _, link = _linked(b, argument, root)
    end_of(b, b.under_lock, f"{ast.unparse(node.func)}()")
    found = b.kfunc("bpf_rbtree_remove", where, link, kind=ir.Kind.PTR)
    return _taken(b, found, root)


def _add(b: Builder, node: ast.Call, owner: Memory) -> Value:
    argument, less = required(arguments(b, node, ("node", "less")))
    where, root = _root(b, node, owner)
    value, link = _linked(b, argument, root)
    function = b.expr(less)
    hints = getattr(getattr(function, "obj", None), "__annotations__", {})
    if hints.get("return") not in {bool, "bool"}:
        name = root.node.name
        hint = f"def less(a: {name}, b: {name}) -> bool: return a.key < b.key"
        message = "a tree is ordered by a function of two structs, -> bool"
        raise b.refuse(less, Reason.CALLBACK, message, hint)
    arriving = Link(UNKNOWN, -root.link.offset, root.node, ir.Space.MEM)
    order = callback(b, less, (arriving, arriving), may_stop=True)
    give_back(b, value, argument, f"{ast.unparse(node.func)}()")
    zero = ir.Const(0)
    return Int(b.kfunc("bpf_rbtree_add_impl", where, link, order, zero, zero), I64)


# Timers and work queues.


def _begin(b: Builder, node: ast.Call, owner: Memory) -> tuple[ir.Op, ir.Op]:
    """The address of a timer, and its map."""
    if b.program is not None and b.program[0] in TRACING:
        noun = owner.describe()
        message = f"tracing programs cannot use {noun}"
        raise b.refuse(node, Reason.OBJECT, message, "they may run inside of it")
    if owner.home is None:
        message = f"it is not known here which map {owner.describe()} lies in"
        hint = "look the value up in the function that begins"
        raise b.refuse(node, Reason.OBJECT, message, hint)
    return b.address(owner), map_ref(owner.home)


def _timer_init(b: Builder, node: ast.Call, owner: Memory) -> Value:
    [clock] = arguments(b, node, ("clock",), 0)
    timer, table = _begin(b, node, owner)
    return Int(b.call(TIMER_INIT, timer, table, number(b, clock, 1)), I64)


def _called_later(b: Builder, node: ast.Call, owner: Memory) -> tuple[ir.Op, ir.Op]:
    [function] = required(arguments(b, node, ("callback",)))
    timer, _ = _begin(b, node, owner)
    home = owner.home
    assert home is not None
    assert home.key is not None
    key = Memory(UNKNOWN, 0, home.key, ir.Space.MEM)
    value = value_memory(home, UNKNOWN, nullable=False)
    return timer, callback(b, function, (None, key, value))


def _timer_callback(b: Builder, node: ast.Call, owner: Memory) -> Value:
    timer, function = _called_later(b, node, owner)
    return Int(b.call(TIMER_SET_CALLBACK, timer, function), I64)


def _timer_start(b: Builder, node: ast.Call, owner: Memory) -> Value:
    when, flags = arguments(b, node, ("nanoseconds", "flags"), 1)
    timer, _ = _begin(b, node, owner)
    return Int(b.call(TIMER_START, timer, number(b, when), number(b, flags)), I64)


def _timer_cancel(b: Builder, node: ast.Call, owner: Memory) -> Value:
    arguments(b, node, ())
    timer, _ = _begin(b, node, owner)
    return Int(b.call(TIMER_CANCEL, timer), I64)


def _work_init(b: Builder, node: ast.Call, owner: Memory) -> Value:
    arguments(b, node, ())
    work, table = _begin(b, node, owner)
    return Int(b.kfunc("bpf_wq_init", work, table, ir.Const(0)), I64)


def _work_callback(b: Builder, node: ast.Call, owner: Memory) -> Value:
    work, function = _called_later(b, node, owner)
    zero = ir.Const(0)
    return Int(b.kfunc("bpf_wq_set_callback_impl", work, function, zero, zero), I64)


def _work_start(b: Builder, node: ast.Call, owner: Memory) -> Value:
    arguments(b, node, ())
    work, _ = _begin(b, node, owner)
    return Int(b.kfunc("bpf_wq_start", work, ir.Const(0)), I64)


# Pointers.


def _xchg(b: Builder, node: ast.Call, owner: Memory) -> Value:
    [argument] = required(arguments(b, node, ("new",)))
    kind = owner.type
    assert isinstance(kind, KptrType)
    value = b.expr(argument)
    new: ir.Op = ir.Const(0)
    if not isinstance(value, Nothing):
        if not isinstance(value, Pointer) or not _is_of(value, kind):
            message = f"a {kind.to.__name__} is needed here, not {value.describe()}"
            raise b.refuse(argument, Reason.WRONG_ARGUMENT, message)
        present(b, value, argument)
        give_back(b, value, argument, f"{ast.unparse(node.func)}()")
        new = b.address(value) if isinstance(value, Memory) else value.op
    old = b.call(KPTR_XCHG, b.address(owner), new, kind=ir.Kind.PTR)
    found = _pointed(old, kind)
    if isinstance(found, Memory):
        return acquire(b, found, _dropped(b, kind.to.__name__))
    return acquire(b, found, _released(b, node, kind.to.__name__))


def _released(b: Builder, node: ast.Call, name: str) -> Reference:
    kfunc = _RELEASE.get(name)
    if kfunc is None:
        message = f"it is not known how a {name} is given back"
        hint = f"a Kptr holds {', '.join(_RELEASE)}, or a Struct of yours"
        raise b.refuse(node, Reason.OBJECT, message, hint)
    return Reference(
        f"the {name}",
        f"give it back on every way by {kfunc}(), or write: with ... as x:",
        lambda held: b.kfunc(kfunc, held),
    )


def _read(b: Builder, node: ast.Call, owner: Memory) -> Value:
    arguments(b, node, ())
    kind = owner.type
    assert isinstance(kind, KptrType)
    if not b.in_rcu:
        message = f"{kind.noun} is read in 'with rcu():' only"
        hint = "with rcu(): ... - or take it out: xchg(None)"
        raise b.refuse(node, Reason.OBJECT, message, hint)
    space = owner.space
    op = ir.Load(owner.op, owner.offset, 8, space=space, kind=ir.Kind.PTR)
    found = _pointed(b.emit(op), kind)
    return _borrow(b, found, b.under_rcu, kind.to.__name__)


def _pointed(op: ir.Op, kind: KptrType) -> Memory | KernelMemory:
    if issubclass(kind.to, Kernel):
        return KernelMemory(op, kind.to, nullable=True, typed=True)
    layout: StructType = kind.to.__layout__
    return _object(op, layout)


def _is_of(value: Pointer, kind: KptrType) -> bool:
    if isinstance(value, KernelMemory):
        return value.kernel.__name__ == kind.to.__name__
    layout = getattr(kind.to, "__layout__", None)
    return isinstance(value, Memory) and value.type is layout


METHODS: dict[str, dict[str, Method]] = {
    "bpf_list_head": {
        "push_front": _push("bpf_list_push_front_impl"),
        "push_back": _push("bpf_list_push_back_impl"),
        "pop_front": _pop("bpf_list_pop_front"),
        "pop_back": _pop("bpf_list_pop_back"),
    },
    "bpf_rb_root": {"add": _add, "first": _first, "remove": _remove},
    "bpf_timer": {
        "init": _timer_init,
        "set_callback": _timer_callback,
        "start": _timer_start,
        "cancel": _timer_cancel,
    },
    "bpf_wq": {
        "init": _work_init,
        "set_callback": _work_callback,
        "start": _work_start,
    },
    "kptr": {"xchg": _xchg, "read": _read},
}
BY_NAME |= {"obj_new": _new, "obj_drop": _drop}
