"""Statements that programs cannot say: source, message, advice.

In each source, `«...»` marks what the caret must point at.
"""

STATEMENTS = {
    "float": (
        "x = «0.5»",
        "0.5 is a float",
        "programs have integers only: scale it",
    ),
    "float constant": (
        "x = «RATIO»",
        "0.5 is a float",
        "programs have integers only: scale it",
    ),
    "true division": (
        "x = «ktime_ns() / 2»",
        "'/' makes a float",
        "divide integers by //",
    ),
    "matrix product": (
        "x = «1 @ 2»",
        "'@' is not part of programs",
        "multiply integers by *",
    ),
    "unknown name": (
        "x = «tabel»",
        "'tabel' is not defined",
        "did you mean 'table'?",
    ),
    "unknown name, nothing near": (
        "x = «zzzzzz»",
        "'zzzzzz' is not defined",
        "import it, or define it in the module",
    ),
    "unassigned": (
        "if ktime_ns():\n    x = 1\ny = «x»",
        "'x' may not be assigned here",
        "give it a value on every way that leads here: x = 0",
    ),
    "try": (
        "«try:»\n    pass\nfinally:\n    pass",
        "try is not part of programs",
        "nothing raises there: test results",
    ),
    "raise": (
        "«raise ValueError»",
        "raise is not part of programs",
        "return a value that says so",
    ),
    "assert": (
        "«assert ctx»",
        "assert is not part of programs",
        "test it, and return",
    ),
    "list comprehension": (
        "x = «[i for i in range(3)]»",
        "a comprehension is not part of programs",
        "write a for loop",
    ),
    "generator": (
        "x = «(i for i in range(3))»",
        "a generator is not part of programs",
        "write a for loop",
    ),
    "lambda": (
        "x = «lambda: 1»",
        "lambda is not part of programs",
        "write a function: def",
    ),
    "dict": ("x = «{1: 2}»", "a dict is not part of programs", "use a HashMap"),
    "yield": (
        "«yield»",
        "yield is not part of programs",
        "send records by a RingBuf",
    ),
    "import": (
        "«import os»",
        "import stands at the top of the module",
        "move it there",
    ),
    "nested function": (
        "«def inner() -> None:»\n    pass",
        "a function inside a program",
        "move it to the module",
    ),
    "nested class": (
        "«class Inside:»\n    pass",
        "a class inside a program",
        "move it to the module",
    ),
    "global": (
        "«global x»",
        "global is not part of programs",
        "declare it: limit = Global(u32)",
    ),
    "f-string": (
        'x = «f"{1}"»',
        "an f-string goes into printk() only",
        'write printk(f"...")',
    ),
    "text arithmetic": (
        'x = NAME + «"!" * ktime_ns()»',
        "texts are not built in programs",
        "keep the parts apart, or put them together in printk() or in user space",
    ),
    "text in a variable": (
        "x = «NAME»",
        "'x' cannot hold the text 'beewire'",
        "use it where it stands: names in programs hold numbers and references",
    ),
    "print": (
        "«print(1)»",
        "print() is not part of programs",
        'write printk(f"...")',
    ),
    "star argument": (
        "x = min(«*PORTS»)",
        "* is not part of programs",
        "pass one by one",
    ),
    "useless expression": (
        "«ktime_ns() + 1»",
        "this expression does nothing",
        "assign it, or leave it out",
    ),
    "choice as a statement": (
        "«cpu_id() and ktime_ns()»",
        "a choice is no statement",
        "write it as an 'if'",
    ),
    "pattern that does not fit": (
        "match cpu_id():\n    case 1 | «-1»:\n        pass",
        "-1 does not fit u32",
        "u32 holds 0 .. 4294967295; write 0xffffffff for the same bits",
    ),
    "endless loop": (
        "while «True»:\n    pass",
        "this loop never ends",
        "leave it by break or return, or write for i in range(n):",
    ),
    "loop whose condition stays": (
        "n = 3\nwhile «n > 0»:\n    x = n",
        "this loop never ends: nothing in it changes the condition",
        "change what it tests, or leave it by break or return",
    ),
    "endless loop around a break of its own": (
        "while «True»:\n    for i in range(3):\n        break",
        "this loop never ends",
        "leave it by break or return, or write for i in range(n):",
    ),
    "for over a map": (
        "for port in «table»:\n    pass",
        "'for' does not go over a HashMap",
        "it goes over range(n), an array, a text, or a constant tuple",
    ),
    "range with a variable step": (
        "for i in range(0, 9, «random_u32()»):\n    pass",
        "the step of range() is a constant, and not 0",
        "write for i in range(start, stop, step): with a number as the step",
    ),
    "break outside of a loop in a with": (
        "with «open(NAME)» as e:\n    pass",
        "'with' takes a reservation or a socket",
        "with events.reserve() as e:, with socks.lookup(key) as sk:",
    ),
    "del of a name": (
        "x = 1\ndel «x»",
        "'del' takes an entry of a map",
        "del table[key]",
    ),
    "slice": (
        "x = TABLE[«0:1»]",
        "a slice is not part of programs",
        "copy element by element",
    ),
    "constant index past the end": (
        "x = «TABLE[3]»",
        "index 3 is past the end",
        "there are 3 elements",
    ),
    "variable index of a constant table": (
        "x = «TABLE[cpu_id()]»",
        "a constant table takes constant indices only",
        "put the table into an Array map",
    ),
    "variable index of a tuple": (
        "x = «(1, 2, 3)[cpu_id()]»",
        "a constant table takes constant indices only",
        "put the table into an Array map",
    ),
    "pattern of a class": (
        "match ktime_ns():\n    case «int()»:\n        pass",
        "a class pattern is not part of programs",
        "match numbers",
    ),
    "set": ("x = «{1, 2}»", "a set is a value only after 'in'", "use a HashMap"),
    "pow": (
        "x = «3 ** cpu_id()»",
        "'**' of a variable is not part of programs",
        "multiply in a loop",
    ),
}

INTEGERS = {
    "literal too large for a name": (
        "x: u8 = «300»",
        "300 does not fit u8",
        "u8 holds 0 .. 255",
    ),
    "negative literal for an unsigned name": (
        "x: u32 = «-1»",
        "-1 does not fit u32",
        "u32 holds 0 .. 4294967295; write 0xffffffff for the same bits",
    ),
    "literal too large for a conversion": (
        "x = u8(«300»)",
        "300 does not fit u8",
        "u8 holds 0 .. 255",
    ),
    "negative literal for an unsigned conversion": (
        "x = u32(«-1»)",
        "-1 does not fit u32",
        "u32 holds 0 .. 4294967295; write 0xffffffff for the same bits",
    ),
    "large literal for a signed conversion": (
        "x = i32(«0x8000_0000»)",
        "2147483648 does not fit i32",
        "i32 holds -2147483648 .. 2147483647; write -2147483648 for the same bits",
    ),
    "constant of the module too large for a conversion": (
        "x = u8(«SIZE»)",
        "300 does not fit u8",
        "u8 holds 0 .. 255",
    ),
    "literal too large to be compared": (
        "x: u8 = cpu_id()\nif «x == SIZE»:\n    pass",
        "300 does not fit u8",
        "u8 holds 0 .. 255",
    ),
    "negative literal compared with an unsigned": (
        "if «cpu_id() > -1»:\n    pass",
        "-1 does not fit u32",
        "u32 holds 0 .. 4294967295; write 0xffffffff for the same bits",
    ),
    "signed compared with unsigned": (
        "x: i32 = 0\nif «x < cpu_id()»:\n    pass",
        "'<': one side is signed (i32), the other is not (u32)",
        "give one of them a name of the other's kind first: x: i64 = ...",
    ),
    "signed divided by unsigned": (
        "x: i32 = 0\ny = «x // cpu_id()»",
        "'//': one side is signed (i32), the other is not (u32)",
        "give one of them a name of the other's kind first: x: i64 = ...",
    ),
    "65 bits": (
        "x = «1 << 64»",
        "18446744073709551616 does not fit 64 bits",
        "integers have 64 bits here",
    ),
    "65 bits from the module": (
        "x = «0x1_0000_0000_0000_0000»",
        "18446744073709551616 does not fit 64 bits",
        "integers have 64 bits here",
    ),
    "shift backwards": ("x = «cpu_id() << -1»", "a shift by -1", "shift by 0 or more"),
    "signed into an unsigned variable": (
        "x = ktime_ns()\ny: i64 = 0\nx = «y»",
        "'x' holds unsigned integers; this one is signed",
        "say what it is where it is first assigned: x: i64 = ...",
    ),
    "integer into a bool": (
        "x: bool = «cpu_id()»",
        "an integer does not go into bool",
        "compare it: x != 0",
    ),
    "annotation without a width": (
        "x: «int» = 1",
        "int has no width",
        "u8 .. u64, i8 .. i64 or bool; other names need no annotation",
    ),
    "annotation of an unknown name": (
        "x: «Optional» = 1",
        "'Optional' is not defined",
        "did you mean 'htonl'?",
    ),
    "annotation of an unknown name in a text": (
        "x: «'zzzzzz'» = 1",
        "'zzzzzz' is not defined",
        "import it, or define it in the module",
    ),
    "annotation that is no Python": (
        "x: «'u8 |'» = 1",
        "'u8 |' is no integer type",
        "u8 .. u64, i8 .. i64 or bool; other names need no annotation",
    ),
    "annotation of a list": (
        "x: «list[u32]» = 1",
        "list[u32] is no integer type",
        "u8 .. u64, i8 .. i64 or bool; other names need no annotation",
    ),
    "global used as a number": (
        "x = «limit» + 1",
        "an integer is needed here, not the global 'limit'",
        "read the value: limit.value",
    ),
    "global used as a condition": (
        "if «limit»:\n    pass",
        "the global 'limit' is no condition",
        "read the value: limit.value",
    ),
    "declared twice": (
        "x: u8 = 1\n«x: u16 = 2»",
        "'x' is declared u8 before",
        "declare it once, where it gets its first value",
    ),
    "choice of signed and unsigned": (
        "x: i32 = 0\ny = «x if ktime_ns() else cpu_id()»",
        "one side is signed (i32), the other is not (u32)",
        "give one of them a name of the other's kind first: x: i64 = ...",
    ),
    "None in a variable": (
        "x = 1\nx = «None»",
        "'x' cannot be None: only references can",
        "use a number that means none, such as 0",
    ),
    "struct annotation of an integer": (
        "x: Key = «5»",
        "'x' is declared Key; this is the number 5",
        "use a name of its own for each kind of value",
    ),
    "is between numbers": (
        "x = 1\nif «cpu_id() is x»:\n    pass",
        "'is' compares with None only",
        "write == for numbers",
    ),
    "== None": (
        "x = table.lookup(1)\nif x == «None»:\n    pass",
        "None is compared by 'is'",
        "write: is None, is not None",
    ),
    "integer that is never None": (
        "if «cpu_id()» is None:\n    pass",
        "an integer (u32) is never None",
        "test what lookup(), reserve() and ctx.at() give; compare numbers",
    ),
}

REFERENCES = {
    "map value without a check": (
        "e = records.lookup(1)\n«e».pid = 1",
        "'e' may be None here",
        "test it first: if e is None: return",
    ),
    "map value read without a check": (
        "e = table.lookup(1)\nx = «e».value",
        "'e' may be None here",
        "test it first: if e is None: return",
    ),
    "map value changed without a check": (
        "e = table.lookup(1)\n«e».value += 1",
        "'e' may be None here",
        "test it first: if e is None: return",
    ),
    "checked on one way only": (
        "e = table.lookup(1)\nif cpu_id() and e is None:\n    return 1\n«e».value += 1",
        "'e' may be None here",
        "test it first: if e is None: return",
    ),
    "check lost by a new lookup": (
        (
            "e = table.lookup(1)\nif e is None:\n    return 1\ne = table.lookup(2)\n"
            "«e».value += 1"
        ),
        "'e' may be None here",
        "test it first: if e is None: return",
    ),
    "check lost in the next round": (
        (
            "e = table.lookup(1)\nif e is None:\n    return 1\nfor i in range(4):\n"
            "    «e».value += 1\n    e = table.lookup(i)"
        ),
        "'e' may be None here",
        "test it first: if e is None: return",
    ),
    "checked the wrong way round": (
        "e = table.lookup(1)\nif e is None:\n    «e».value += 1",
        "'e' is None here",
        "test it first: if e is None: return",
    ),
    "without a name": (
        "x = «table.lookup(1)».value",
        "'table.lookup(1)' may be None",
        "give it a name and test that: if (x := table.lookup(1)) is None: return",
    ),
    "walrus": (
        "x = («e := table.lookup(1)»).value",
        "'e' may be None here",
        "test it first: if e is None: return",
    ),
    "passed to a helper": (
        "sk = socks.lookup(Key())\nsk_release(«sk»)",
        "'sk' may be None here",
        "test it first: if sk is None: return",
    ),
    "packet without a check": (
        "h = ctx.at(0, Inner)\nx = «h».low",
        "'h' may be None here",
        "test it first: if h is None: return",
    ),
    "reference used as a number": (
        "e = table.lookup(1)\nif e is None:\n    return 1\nx = «e» + 1",
        "an integer is needed here, not a reference to u64",
        "read the value: e.value",
    ),
    "structs compared": (
        "k = Key()\nif «k» == k:\n    pass",
        "a struct (Key) cannot be compared",
        "compare field by field",
    ),
    "texts compared": (
        "r = Record()\nif «r.comm < 'a'»:\n    pass",
        "texts and arrays are compared by == and != only",
        "compare numbers; texts and arrays by == and != only",
    ),
    "a second name for a struct": (
        "k = Key()\nj = «k»",
        "'j' would be a second name for a struct on the stack",
        "use the first name, or take a copy: .copy()",
    ),
    "reference in the name of a struct": (
        "e = records.lookup(1)\nr = Record()\nif e is not None:\n    r = «e»",
        (
            "'r' holds a struct (Record) of its own; this is a reference to a struct "
            "(Record)"
        ),
        "use another name",
    ),
    "number in the name of a reference": (
        "e = table.lookup(1)\nif e is not None:\n    e = «5»",
        "'e' holds a reference to u64; this is the number 5",
        "assign what it refers to: e.value = ...",
    ),
    "struct in the name of a reference": (
        "e = records.lookup(1)\ne = «Record()»",
        (
            "'e' holds a reference to a struct (Record); this is a struct (Record) "
            "of its own"
        ),
        "use another name",
    ),
    "other kind in a variable": (
        "k = 1\nk = «Key()»",
        "'k' holds an integer (u64); this is a struct (Key)",
        "use another name",
    ),
    "unknown field": (
        "k = Key()\nx = «k.cokie»",
        "Key has no field 'cokie'",
        "did you mean 'cookie'?",
    ),
    "unknown field assigned": (
        "k = Key()\n«k.zzz» = 1",
        "Key has no field 'zzz'",
        "it has cookie, port, addr",
    ),
    "unknown field in a constructor": (
        "k = Key(prt=«1»)",
        "Key has no field 'prt'",
        "did you mean 'port'?",
    ),
    "fields by position": (
        "k = Key(«1»)",
        "Key() takes fields by name",
        "Key(cookie=...)",
    ),
    "literal too large for a field": (
        "k = «Inner(low=70000)»",
        "Inner.low: 70000 does not fit u16",
        "u16 holds 0 .. 65535",
    ),
    "text too long for a field": (
        "r = Record()\nr.comm = «b'0123456789abcdefg'»",
        "b'0123456789abcdefg' is longer than 16 bytes",
        "declare it longer, or give it less",
    ),
    "index past the end": (
        "k = Key()\nx = «k.addr[4]»",
        "index 4 is past the end",
        "there are 4 elements",
    ),
    "struct in an integer field": (
        "k = Key()\nk.port = «Key()»",
        "a struct (Key) does not go into u32",
        "give an integer for u8 .. u64, a text for chars(n), a struct for one",
    ),
    "kernel struct assigned": (
        "«current(task_struct).tgid» = 1",
        "'current(task_struct).tgid' is read-only",
        "the kernel lets programs read it only",
    ),
    "undeclared kernel field": (
        "x = «current(task_struct).pid»",
        "task_struct has no field 'pid'",
        "declare it in class task_struct",
    ),
    "kernel class needed": (
        "x = current(«Key»).port",
        "a Kernel class is needed here",
        "class task_struct(Kernel): tgid: i32",
    ),
}
