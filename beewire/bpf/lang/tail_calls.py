"""`goto(program)`: a tail call, by way of an array of programs that is made for it.

What follows is only run where the kernel does not go there: after 33 tail calls in a row
(MAX_TAIL_CALL_CNT), or where user space has emptied the array.
"""

from beewire.bpf import ir
from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.arguments import arguments, required
from beewire.bpf.lang.builder import Builder
from beewire.bpf.lang.decl import ProgramDecl
from beewire.bpf.lang.maps.programs import TAIL_CALL
from beewire.bpf.lang.ownership import check_exit
from beewire.bpf.lang.values import Nothing, Static, Value
from beewire.reasons import Reason


def goto(b: Builder, node: ast.Call) -> Value:
    """`goto(program)`.

    Raises:
        Refused: It is no program, or one of another kind, or there is no context here.
    """
    [argument] = required(arguments(b, node, ("program",)))
    found = b.expr(argument)
    target = found.obj if isinstance(found, Static) else None
    if not isinstance(target, ProgramDecl):
        raise b.refuse(
            argument,
            Reason.TAIL_CALL,
            f"a program is needed here, not {found.describe()}",
            "plain functions are called: f(...)",
        )
    kind = target.kind, target.attach_kind
    if b.program is not None and kind != b.program:
        raise b.refuse(
            argument,
            Reason.TAIL_CALL,
            f"{target.name!r} is a program of {target.section}: its context is another",
            "a program goes to programs of its own hook only",
        )
    if b.context is None:
        name = b.function.name
        raise b.refuse(
            node,
            Reason.TAIL_CALL,
            f"{name}() has no context to go on with",
            f"give it the context: def {name}(ctx: {target.context.__name__}, ...)",
        )
    if b.chosen:
        # It would come back to the caller, who has more to do: it is compiled in.
        raise b.refuse(node, Reason.TAIL_CALL, "a tail call ends the function")
    check_exit(b, node)
    array, index = b.unit.target(target, kind)
    b.call(TAIL_CALL, b.context, ir.MapRef(array), ir.Const(index))
    return Nothing()
