"""From the IR of a program and its subprograms to instructions that fit together.

The kernel adds up the stack of every chain of calls: 512 bytes, and eight frames.
"""

from beewire.bpf import codegen, ir
from beewire.bpf.btf import types as btf
from beewire.bpf.codegen import Code
from beewire.bpf.isa import CALL, CALL_HELPER
from beewire.bpf.lang import source
from beewire.bpf.lang.unit import Subprogram, Unit
from beewire.bpf.object.kinds import ProgramKind
from beewire.bpf.object.spec import ProgramSpec, RelocationKind
from beewire.bpf.object.target import ITERATORS, LOOP_HELPER, MAY_GOTO, Target
from beewire.errors import CompileError, Diagnostic
from beewire.hints import Iterable
from beewire.reasons import Reason

SECTION = ".text"  # as libbpf has it
STACK_LIMIT = 512  # MAX_BPF_STACK
# Above a subprogram with a tail call (check_max_stack_depth_subprog).
TAIL_CALL_LIMIT = 256
MAX_FRAMES = 8  # MAX_CALL_FRAMES
# check_max_stack_depth() rounds each frame up; newer kernels do so to 16 bytes only.
_ROUND = 32
TAIL_CALL = 12  # BPF_FUNC_tail_call


def generate(function: ir.Function, unit: Unit, target: Target) -> Code:
    """Compile a program, and the subprograms of its unit that are not compiled yet.

    Raises:
        CompileError: A function needs too much stack by itself, and the like.
    """
    code = _generate(function, unit, target)
    for made in unit.made:  # which grows
        if made.code is None:
            made.code = _generate(made.function, unit, target)
    return code


def _generate(function: ir.Function, unit: Unit, target: Target) -> Code:
    """Compile a function; its loops become callbacks where nothing else bounds them."""
    if not unit.optimize and _needs_callbacks(function, target):
        from beewire.bpf.codegen.outline import outline  # noqa: PLC0415 - older kernels

        for callback in outline(function, unit.name):
            made = Subprogram(None, callback, is_global=False)
            made.signature = _callback_signature(callback.name)
            unit.made.append(made)
    return codegen.back_end(unit.optimize)(function, target)


def _needs_callbacks(function: ir.Function, target: Target) -> bool:
    if target.has(MAY_GOTO) or target.has(ITERATORS) or not target.has(LOOP_HELPER):
        return False
    return any(
        isinstance(last := block.ops[-1], ir.Branch)
        and isinstance(last.args[0], ir.Budget)
        for block in function.blocks
    )


def _callback_signature(name: str) -> btf.Func:
    """`int name(u32 index, void *frame)`."""
    params = (
        btf.Param("index", btf.Int("unsigned int", 4)),
        btf.Param("frame", btf.Ptr(None)),
    )
    proto = btf.FuncProto(btf.Int("int", 4, signed=True), params)
    return btf.Func(name, proto, btf.Linkage.STATIC)


def take_back(program: ir.Function, code: Code, unit: Unit) -> bool:
    """Whether to compile again, with functions that call too deep compiled in.

    Raises:
        CompileError: The author's own subprograms do.
    """
    deepest = _deepest(code, unit.by_name(), (), 0)
    if deepest is None:
        return False
    chosen = [made.python for made in deepest if made.chosen]
    if chosen:
        unit.outlined.difference_update(chosen)
        unit.inlined.update(chosen)
        # What calls them has to be compiled anew, too.
        unit.found = {k: v for k, v in unit.found.items() if v not in deepest}
        return True
    raise _too_deep(program, code, deepest)


def subprograms(unit: Unit, programs: Iterable[ProgramSpec]) -> list[ProgramSpec]:
    """The subprograms that `programs` call, directly or not."""
    known = unit.by_name()
    found: dict[str, ProgramSpec] = {}
    waiting = list(programs)
    while waiting:
        caller = waiting.pop()
        for relocation in caller.relocations:
            made = known.get(relocation.symbol)
            is_call = relocation.kind == RelocationKind.SUBPROGRAM
            if is_call and made is not None and made.name not in found:
                found[made.name] = _spec(made, caller.license)
                waiting.append(found[made.name])
    # In the order in which they were compiled: the same source, the same object.
    return [found[name] for name in known if name in found]


def _spec(made: Subprogram, license_text: str) -> ProgramSpec:
    code = made.code
    assert code is not None
    return ProgramSpec(
        made.name,
        kind=ProgramKind.UNSPEC,
        section=SECTION,
        insns=code.insns,
        relocations=code.relocations,
        lines=source.lines(code.lines),
        core_relos=code.core_relos,
        signature=made.signature,
        license=license_text,
    )


_Chain = tuple[Subprogram, ...]


def _deepest(
    code: Code, known: dict[str, Subprogram], above: _Chain, used: int
) -> _Chain | None:
    """A chain of calls that does not fit, None when all of them do."""
    if above and used >= TAIL_CALL_LIMIT and _goes(code):
        return above
    used += _frame(code)
    if above and (used > STACK_LIMIT or 1 + len(above) > MAX_FRAMES):
        return above
    names = [r.symbol for r in code.relocations if r.kind == RelocationKind.SUBPROGRAM]
    for name in dict.fromkeys(names):
        inside = known[name].code
        assert inside is not None
        found = _deepest(inside, known, (*above, known[name]), used)
        if found is not None:
            return found
    return None


def _goes(code: Code) -> bool:
    """Whether a function has a tail call."""
    return any(
        insn.opcode == CALL and insn.src == CALL_HELPER and insn.imm == TAIL_CALL
        for insn in code.insns
    )


def _frame(code: Code) -> int:
    return -(-max(code.stack_bytes, 1) // _ROUND) * _ROUND


def _total(code: Code, chain: _Chain) -> int:
    return _frame(code) + sum(_frame(each.code) for each in chain if each.code)


def _too_deep(program: ir.Function, code: Code, chain: _Chain) -> CompileError:
    names = " calls ".join([f"{program.name}()", *[f"{each.name}()" for each in chain]])
    if 1 + len(chain) > MAX_FRAMES:
        message = f"{names}: the kernel has {MAX_FRAMES} frames for calls"
        hint = "mark some of them @inline"
    elif (total := _total(code, chain)) <= STACK_LIMIT:
        message = (
            f"{names}, which goes to another program: the frames above it have "
            f"{_total(code, chain[:-1])} bytes, and may have less than 256"
        )
        hint = "go there from the program itself, or keep big data in a map"
    else:
        message = f"{names}: together they need {total} bytes of stack; BPF has 512"
        hint = (
            "keep big data in a map, such as PerCpuArray[...](max_entries=1), or mark "
            "what is called @inline: its variables share their places then"
        )
    span = program.span
    found = source.of_file(span.file)
    text = found.line(span.line) if found is not None else ""
    return CompileError((
        Diagnostic(
            Reason.CALL_STACK,
            message,
            filename=span.file,
            line=span.line,
            column=span.column,
            end_line=span.end_line,
            end_column=len(text.rstrip()) + 1,
            text=text + "\n",
            hint=hint,
        ),
    ))  # fmt: skip
