"""What functions of programs cannot do: definitions, a body, message, code."""

FUNCTIONS: dict[str, tuple[str, str, str, str]] = {
    "a function that calls itself": (
        "def f(n: u32) -> u32:\n    return f(n)\n",
        "results[0] = f(1)",
        "f() calls itself",
        "BW153",
    ),
    "functions that call each other": (
        (
            "def f(n: u32) -> u32:\n    return g(n)\n"
            "@subprogram\ndef g(n: u32) -> u32:\n    return f(n)\n"
        ),
        "results[0] = f(1)",
        "f() calls itself, by way of g()",
        "BW153",
    ),
    "six arguments": (
        (
            "@subprogram\ndef f(a: u32, b: u32, c: u32, d: u32, e: u32, g: u32) -> u32:\n"
            "    return a + b + c + d + e + g\n"
        ),
        "results[0] = f(1, 2, 3, 4, 5, 6)",
        "f() takes 6 registers of arguments, and a subprogram has 5",
        "BW155",
    ),
    "by name what is by place only": (
        "def f(a: u32, /, b: u32 = 2) -> u32:\n    return a + b\n",
        "results[0] = f(a=1)",
        "f() takes 'a' by its place only",
        "BW150",
    ),
    "by place what is by name only": (
        "def f(a: u32, *, b: u32 = 2) -> u32:\n    return a + b\n",
        "results[0] = f(1, 2)",
        "f() takes 'b' by its name only",
        "BW150",
    ),
    "nothing for a parameter that is by name only": (
        "def f(a: u32 = 1, *, b: u32) -> u32:\n    return a + b\n",
        "results[0] = f(1)",
        "f() needs 'b'",
        "BW150",
    ),
    "a chain of elif that is too long": (
        "",
        "if at.a == 0: results[0] = 1\n"
        + "".join(f"elif at.a == {i}: results[0] = {i}\n" for i in range(1, 700)),
        "this is nested too deeply to be compiled",
        "BW195",
    ),
    "a kernel structure for a global function": (
        (
            "class task_struct(Kernel):\n    tgid: i32\n"
            "@subprogram(is_global=True)\ndef f(task: task_struct) -> i32:\n"
            "    return task.tgid\n"
        ),
        "results[0] = 1 if f(kernel_ptr(at.a, task_struct)) > 0 else 0",
        "f(): a global function cannot take a kernel struct (task_struct)",
        "BW155",
    ),
    "a struct from a global function": (
        "@subprogram(is_global=True)\ndef f(n: u32) -> Pair:\n    return Pair(x=n)\n",
        "results[0] = f(1).x",
        "a global function cannot return a struct (Pair)",
        "BW155",
    ),
    "a struct of the caller's that is returned": (
        "@subprogram\ndef f(pair: Pair) -> Pair:\n    return pair\n",
        "own = Pair()\nresults[0] = f(own).x",
        "f() returns a struct that it did not make",
        "BW152",
    ),
    "too few results": (
        "def f(n: u32) -> tuple[u32, u32]:\n    return n\n",
        "a, b = f(1)",
        "f() returns what is tuple[u32, u32], not an integer (u32)",
        "BW152",
    ),
    "a callback that takes too much": (
        "def f(i: u32, a: Pair, b: Pair) -> None:\n    a.x += i\n",
        "own = Pair()\nloop(4, f, own)",
        "f() is called back with 2 arguments, and takes 3",
        "BW156",
    ),
    "a callback that returns a number": (
        "def f(i: u32) -> u32:\n    return i\n",
        "loop(4, f)",
        "f() is called back: what it returns has no meaning",
        "BW156",
    ),
    "a callback of another struct": (
        "def f(i: u32, own: Input) -> None:\n    own.a = i\n",
        "own = Pair()\nloop(4, f, own)",
        "f(): parameter 'own' is Input, not a struct (Pair)",
        "BW151",
    ),
    "a packet that a callback shares": (
        "def f(i: u32, own: Input) -> None:\n    own.a = i\n",
        "loop(4, f, at)",
        "a callback shares a struct on the stack with its caller; this is elsewhere",
        "BW156",
    ),
    "a goto to a function": (
        "def f(n: u32) -> None:\n    pass\n",
        "goto(f)",
        "a program is needed here, not 'f' (function)",
        "BW157",
    ),
    "a goto to another hook": (
        (
            "@tracepoint('sched:sched_process_exec')\n"
            "def other(ctx: Tracepoint) -> None:\n    pass\n"
        ),
        "goto(other)",
        (
            "'other' is a program of tracepoint/sched/sched_process_exec: its context is "
            "another"
        ),
        "BW157",
    ),
    "a goto without a context": (
        (
            "@xdp\ndef other(ctx: XdpContext) -> None:\n    pass\n"
            "@subprogram\ndef f(n: u32) -> u32:\n    goto(other)\n    return n\n"
        ),
        "results[0] = f(1)",
        "f() has no context to go on with",
        "BW157",
    ),
    "a constant that is assigned": (
        "limit = Const(u32, 7)\n",
        "limit.value = 8",
        "programs cannot change a constant",
        "BW144",
    ),
}
