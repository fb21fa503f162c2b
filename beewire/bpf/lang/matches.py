"""`match`."""

from beewire.bpf.lang import pyast as ast
from beewire.bpf.lang.builder import Builder, compiles
from beewire.bpf.lang.conditions import compare_values
from beewire.bpf.lang.faults import Rule
from beewire.bpf.lang.flow import Target
from beewire.bpf.lang.values import Int, Literal
from beewire.bpf.lang.variables import assign
from beewire.reasons import Reason


@compiles(ast.Match)
def match(b: Builder, node: ast.Match) -> None:
    """`match` of an integer; the first case that fits is run."""
    subject = b.integer(node.subject, ordered=True)
    done = b.target("matched")
    told: set[bool] = set()
    for case in node.cases:
        body, more = b.target("case"), b.target("next")
        if case.guard is None and _is_last(case.pattern, subject, told):
            b.jump(body)
        elif case.guard is None:
            _pattern(b, case.pattern, subject, body, more)
        else:
            guard = b.target("guard")
            _pattern(b, case.pattern, subject, guard, more)
            b.start(guard)
            b.condition(case.guard, body, more)
        b.start(body)
        b.statements(case.body)
        b.jump(done)
        b.start(more)
    b.jump(done)
    b.start(done)


def _is_last(pattern: ast.pattern, subject: Int | Literal, told: set[bool]) -> bool:
    """Whether the pattern takes what is left of a bool; `told` is what others take."""
    if not (isinstance(subject, Int) and subject.type.is_bool):
        return False
    parts = pattern.patterns if isinstance(pattern, ast.MatchOr) else [pattern]
    told |= {bool(p.value) for p in parts if isinstance(p, ast.MatchSingleton)}
    return len(told) == 2 and all(isinstance(p, ast.MatchSingleton) for p in parts)


def _pattern(
    b: Builder, pattern: ast.pattern, subject: Int | Literal, then: Target, more: Target
) -> None:
    match pattern:
        case ast.MatchValue():
            value = b.integer(pattern.value, ordered=True)
            _equals(b, pattern, subject, value, then, more)
        case ast.MatchSingleton(value=None):
            raise b.refuse(
                pattern, Reason.NEVER_NONE, "an integer is never None", "match numbers"
            )
        case ast.MatchSingleton():
            truth = Literal(int(pattern.value is True))
            _equals(b, pattern, subject, truth, then, more)
        case ast.MatchOr():
            _alternatives(b, pattern, subject, then, more)
        case ast.MatchAs():
            _capture(b, pattern, subject, then, more)
        case _:
            raise b.unsupported(pattern)


def _equals(
    b: Builder,
    pattern: ast.pattern,
    subject: Int | Literal,
    value: Int | Literal,
    then: Target,
    more: Target,
) -> None:
    try:
        compare_values(b, ast.Eq(), subject, value, then, more)
    except Rule as rule:
        hint = rule.hint
        if rule.code == Reason.BYTE_ORDER:
            # What converts would be the pattern of a class.
            hint = "match what ntohs() or ntohl() gives; or a class's constant: IP = be16(2048)"
        raise b.refuse(pattern, rule.code, rule.message, hint) from None


def _alternatives(
    b: Builder, pattern: ast.MatchOr, subject: Int | Literal, then: Target, more: Target
) -> None:
    *first, last = pattern.patterns
    for alternative in first:
        other = b.target("or")
        _pattern(b, alternative, subject, then, other)
        b.start(other)
    _pattern(b, last, subject, then, more)


def _capture(
    b: Builder, pattern: ast.MatchAs, subject: Int | Literal, then: Target, more: Target
) -> None:
    if pattern.pattern is not None:
        fits = b.target("fits")
        _pattern(b, pattern.pattern, subject, fits, more)
        b.start(fits)
    if pattern.name is not None:
        assign(b, pattern.name, subject)
    b.jump(then)
