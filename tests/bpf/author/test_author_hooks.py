"""What the decorators accept, and what they say of the rest."""

from collections.abc import Callable
from typing import Any

import pytest

import beewire.bpf
from beewire.bpf import (
    RawTracepoint,
    SockAddr,
    SockOps,
    Tracepoint,
    XdpContext,
    connect4,
    raw_tracepoint,
    sock_ops,
    tracepoint,
    xdp,
)
from beewire.bpf.author.hooks import HOOKS
from beewire.bpf.object import AttachKind, ProgramKind
from beewire.errors import CompileError, SpecError


def refusal(decorator: Callable[[Any], object], function: object) -> CompileError:
    with pytest.raises(CompileError) as caught:
        decorator(function)
    return caught.value


def test_a_marked_function_is_a_program_that_keeps_the_function() -> None:
    def outbound(ctx: SockAddr) -> int:
        return ctx.user_port

    program = connect4(outbound)

    assert program.function is outbound
    assert program.name == "outbound"
    assert program.kind is ProgramKind.CGROUP_SOCK_ADDR
    assert program.attach_kind is AttachKind.CGROUP_INET4_CONNECT


@pytest.mark.parametrize("name", sorted(set(HOOKS) - {"tracepoint", "raw_tracepoint"}))
def test_every_hook_has_a_decorator_of_its_name(name: str) -> None:
    def program(ctx: Any) -> None:
        """Nothing."""

    program.__annotations__["ctx"] = HOOKS[name].context

    marked = getattr(beewire.bpf, name)(program)

    assert marked.section == HOOKS[name].section


def test_a_tracepoint_knows_category_and_name() -> None:
    @tracepoint("sched:sched_process_exec")
    def on_exec(ctx: Tracepoint) -> None:
        """Nothing."""

    assert on_exec.section == "tracepoint/sched/sched_process_exec"
    assert on_exec.attach_to == "sched/sched_process_exec"


def test_a_raw_tracepoint_knows_its_name() -> None:
    @raw_tracepoint("sched_switch")
    def on_switch(ctx: RawTracepoint) -> None:
        """Nothing."""

    assert on_switch.section == "raw_tracepoint/sched_switch"
    assert on_switch.attach_to == "sched_switch"


def test_a_subclass_of_the_hooks_context_is_accepted() -> None:
    class sched_process_exit(Tracepoint):  # noqa: N801 - the kernel's name
        """A record."""

    @tracepoint("sched:sched_process_exit")
    def on_exit(ctx: sched_process_exit) -> None:
        """Nothing."""

    assert on_exit.name == "on_exit"


@pytest.mark.parametrize("name", ["sched_switch", ":x", "a:b:c", "sched:", ""])
def test_a_tracepoint_without_category_and_name_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match="takes category and name, as in"):
        tracepoint(name)


def test_a_tracepoint_without_parentheses_is_refused() -> None:
    def on_exec(ctx: Tracepoint) -> None:
        """Nothing."""

    with pytest.raises(SpecError, match="not the function itself"):
        tracepoint(on_exec)  # type: ignore[arg-type]  # that is the mistake


def test_a_raw_tracepoint_with_a_category_is_refused() -> None:
    with pytest.raises(SpecError, match="without its category"):
        raw_tracepoint("sched:sched_switch")


def test_another_hooks_context_is_refused_at_the_function() -> None:
    def outbound(ctx: SockOps) -> int:
        return ctx.op

    error = refusal(connect4, outbound)

    assert (
        error.diagnostics[0].message
        == "a program of @connect4 gets SockAddr, not SockOps"
    )
    assert error.text is not None
    assert error.text.strip() == "def outbound(ctx: SockOps) -> int:"
    assert error.__notes__ == ["write def outbound(ctx: SockAddr) -> None:"]


def test_a_parameter_without_annotation_is_refused() -> None:
    def handover(ctx) -> None:  # type: ignore[no-untyped-def]
        """Nothing."""

    error = refusal(sock_ops, handover)

    assert error.diagnostics[0].message == "parameter 'ctx' has no annotation"
    assert error.__notes__ == ["write def handover(ctx: SockOps) -> None:"]


def test_a_function_that_does_not_say_what_it_returns_is_refused() -> None:
    def firewall(ctx: XdpContext):  # type: ignore[no-untyped-def]
        """Nothing."""

    error = refusal(xdp, firewall)

    assert error.diagnostics[0].message == "firewall does not say what it returns"


def test_an_async_function_is_refused() -> None:
    async def firewall(ctx: XdpContext) -> None:
        """Nothing."""

    assert refusal(xdp, firewall).diagnostics[0].message == "a program cannot be async"


def test_a_generator_is_refused() -> None:
    def firewall(ctx: XdpContext) -> Any:
        yield ctx

    assert refusal(xdp, firewall).diagnostics[0].message == "a program cannot yield"


def test_two_parameters_are_refused() -> None:
    def firewall(ctx: XdpContext, limit: int) -> None:
        """Nothing."""

    error = refusal(xdp, firewall)

    assert (
        error.diagnostics[0].message
        == "a program of @xdp takes one parameter, its context"
    )


def test_star_args_are_refused() -> None:
    def firewall(ctx: XdpContext, *rest: int) -> None:
        """Nothing."""

    assert "takes one parameter" in str(refusal(xdp, firewall).diagnostics[0].message)


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(SpecError, match="@xdp marks a function; 3 is none"):
        xdp(3)  # type: ignore[type-var]  # that is the mistake
