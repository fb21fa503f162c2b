"""The reference: a program's source, run in plain Python by the rules of the language.

    world = World()
    evaluate(program, packet, world=world)  # what it returns
    world.entries(table)                    # what it left behind

It walks the syntax tree and computes with Python's ints and bytearrays. It shares the
typing rules of `ints` and the layout of types with the compiler, and what the front end
found to be the type of each variable, but nothing of the lowering: so that compiled
programs can be compared with it.

    numbers      integers and arithmetic
    places       values in memory
    world        what a program finds and leaves: maps, globals, rings, answers of helpers
    run          one call: names, and the tables that the modules below fill
    expressions  statements  calls  callbacks  programs  maps  queues  contexts  sequences
    kernel

A construct is one function, marked `@expression(ast.X)`, `@statement(ast.X)`,
`@method(MapDecl, "lookup")` or `@answers("htons")`.
"""

from beewire.bpf.lang.reference import (
    callbacks,
    calls,
    contexts,
    expressions,
    maps,
    programs,
    queues,
    sequences,
    shared,
    statements,
)
from beewire.bpf.lang.reference.entry import evaluate
from beewire.bpf.lang.reference.world import World

# These register what they evaluate; named here so that importing this is enough.
HANDLERS = (
    callbacks,
    calls,
    contexts,
    expressions,
    maps,
    programs,
    queues,
    sequences,
    shared,
    statements,
)

__all__ = ["World", "evaluate"]
