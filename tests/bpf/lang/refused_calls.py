"""Map operations and calls that programs cannot say: source, message, advice.

In each source, `«...»` marks what the caret must point at.
"""

PRINTK = "{n}, {n:5}, {n:<5}, {n:05}, {n:+}, {n:x}, {n:08x}, {n:#x}, {n:#010x}, {n:c}"

MAPS = {
    "entry read": (
        "x = «table[1]»",
        "table[...] cannot be read in programs: the key may be missing",
        "look it up and test: if (x := table.lookup(1)) is None: return",
    ),
    "unknown operation": (
        "«table.lokup»(1)",
        "HashMap has no lokup() in programs",
        "did you mean 'lookup'?",
    ),
    "operation of another kind of map": (
        "«table.emit»(1)",
        "HashMap has no emit() in programs",
        "it has delete, for_each, insert, lookup, update",
    ),
    "operation that is not called": (
        "x = «table.lookup»",
        "table.lookup is not a value",
        "operations of a map are called: lookup(key), update(key, value)",
    ),
    "key of the wrong type": (
        "table.lookup(«Key()»)",
        "a struct (Key) does not go into u32",
        "give an integer for u8 .. u64, a text for chars(n), a struct for one",
    ),
    "key that does not fit": (
        "table.lookup(«-1»)",
        "-1 does not fit u32",
        "u32 holds 0 .. 4294967295; write 0xffffffff for the same bits",
    ),
    "integer as a struct key": (
        "keyed.lookup(«1»)",
        "the number 1 does not go into Key",
        "give an integer for u8 .. u64, a text for chars(n), a struct for one",
    ),
    "value of the wrong type": (
        "records[1] = «Key()»",
        "a struct (Key) does not go into Record",
        "give an integer for u8 .. u64, a text for chars(n), a struct for one",
    ),
    "too many arguments": (
        "table.lookup(1, «2»)",
        "table.lookup() takes 1 argument, 2 are given",
        "give it the arguments that its definition names",
    ),
    "too few arguments": (
        "«table.update(1)»",
        "table.update() needs 'value'",
        "give it the arguments that its definition names",
    ),
    "unknown argument": (
        "table.update(1, 2, flag=«3»)",
        "argument 'flag' is unknown",
        "did you mean 'flags'?",
    ),
    "addition to an entry of structs": (
        "«records[1] += 1»",
        "records holds Record: look it up and add to a field",
        "do this to an integer of 32 or 64 bits",
    ),
    "another operation on an entry": (
        "«table[1] -= 1»",
        "'-=' of a map's entry is not part of programs",
        "look it up: if (x := table.lookup(1)) is not None: x.value -= ...",
    ),
    "deletion from an array": (
        "del slots[«1»]",
        "Array has no del in programs",
        "it has for_each, lookup, update",
    ),
    "assignment to a global's name": (
        "limit = «5»",
        "'limit' is a global",
        "assign what it holds: limit.value = ...",
    ),
    "assignment to a map's name": (
        "table = «5»",
        "'table' is a map",
        "use another name",
    ),
    "global without its value": (
        "x = «limit»",
        "'x' cannot hold the global 'limit'",
        "read what it holds: limit.value",
    ),
    "global compared without its value": (
        "x = cpu_id() < «limit»",
        "an integer is needed here, not the global 'limit'",
        "read the value: limit.value",
    ),
    "global's name changed": (
        "«limit» += 1",
        "'limit' is a global",
        "assign what it holds: limit.value = ...",
    ),
    "sum in a map of bools": (
        "«marks[1] += 1»",
        "marks holds bool: nothing is added to that",
        "assign it: marks[...] = True",
    ),
    "entries assigned together": (
        "«table[1]», table[2] = 3, 4",
        "an entry of a map is assigned by a statement of its own",
        "table[1] = ...",
    ),
    "no atomic of this width": (
        "e = flags.lookup(1)\nif e is not None:\n    «e.value += 1»",
        "u16 cannot be changed atomically",
        "make it u32 or u64, or use a per-CPU map",
    ),
    "no atomic of this kind": (
        "e = table.lookup(1)\nif e is not None:\n    «e.value *= 2»",
        "'*=' of shared memory is not atomic",
        "write e.value = e.value * ... if that is meant",
    ),
    "reservation without with": (
        "e = «events.reserve()»",
        "reserve() stands in a 'with' statement only",
        "with events.reserve() as e:",
    ),
    "reservation without a name": (
        "with «events.reserve()»:\n    pass",
        "'with' needs one name here",
        "with ... as e:",
    ),
    "reservation without a check": (
        "with events.reserve() as e:\n    «e».pid = 1",
        "'e' may be None here",
        "test it first: if e is None: return",
    ),
    "record after its block": (
        "with events.reserve() as e:\n    pass\nif «e» is not None:\n    pass",
        "'e' is gone: its 'with' block has ended",
        "take it again, or do this before it is gone",
    ),
    "record assigned again": (
        "with events.reserve() as e:\n    e = «table.lookup(1)»",
        "'e' belongs to the 'with' block",
        "use another name",
    ),
    "socket after its release": (
        (
            "sk = socks.lookup(Key())\nif sk is not None:\n    sk_release(sk)\n"
            "    x = «sk».family"
        ),
        "'sk' is gone: sk_release() gave it back",
        "take it again, or do this before it is gone",
    ),
    "in something else": (
        "if 1 in «Key»:\n    pass",
        "'in' does not look into 'Key' (type)",
        "it takes a tuple (1, 2), range(a, b), flags or a map",
    ),
}

CALLS = {
    "too many arguments for a helper": (
        "x = ktime_ns(«1»)",
        "ktime_ns() takes 0 arguments, 1 are given",
        "give it the arguments that its definition names",
    ),
    "wrong argument for a helper": (
        "x = netns_cookie(«1»)",
        "the context is needed here, not the number 1",
        "give it an argument of that kind",
    ),
    "method of a number": (
        "x = «cpu_id().bit_length»()",
        "an integer (u32) has no bit_length() in programs",
        "methods of structs run in user space only",
    ),
    "call of an object": (
        "x = «Color»(1)",
        "Color() raises for a number that it has no member for",
        "compare the number, or declare it so: Annotated[Color, u8]",
    ),
    "unknown enum member": (
        "x = «Color.RAD»",
        "'Color' has no attribute 'RAD'",
        "did you mean 'RED'?",
    ),
    "printk of a variable": (
        "printk(«NAME»)",
        "printk() takes a text",
        'write printk(f"pid {pid}")',
    ),
    "printk of a conversion": (
        'printk(f"{«cpu_id()»!r}")',
        "printk() knows no !r",
        "write {n}: no '!', and no '=' before '}'",
    ),
    "printk of what is not ASCII": (
        "printk(«'größer'»)",
        "printk() cannot print 'ö'",
        "the kernel takes ASCII only",
    ),
    "printk of a NUL": (
        "printk(«'a\\0b'»)",
        "printk() cannot print '\\x00'",
        "the kernel takes ASCII only",
    ),
    "argument given twice": (
        "x = netns_cookie(ctx, ctx=«ctx»)",
        "argument 'ctx' is given twice",
        "leave one out",
    ),
    "printk of an unknown format": (
        'printk(f"{«cpu_id()»:^5}")',
        "printk() knows no format '^5'",
        PRINTK,
    ),
    "printk of a format that varies": (
        'x = 5\nprintk(f"{«cpu_id()»:{x}}")',
        "a format is a constant here",
        PRINTK,
    ),
    "printk of a sign that an unsigned integer has not": (
        'printk(f"{«cpu_id()»:+}")',
        "printk() knows no format '+'",
        PRINTK,
    ),
    "printk of a pointer": (
        'printk(«f"{ctx}"»)',
        "the context (XdpContext) cannot be printed",
        "print its fields, or its address, hashed: {ctx:p}",
    ),
    "context in the place of a socket": (
        "sk_release(«ctx»)",
        "a socket is needed here, not the context (XdpContext)",
        "give it an argument of that kind",
    ),
    "context without a socket as an owner": (
        "x = state.get(«ctx»)",
        "a socket is needed here, not the context (XdpContext)",
        "give it an argument of that kind",
    ),
    "offset before the packet": (
        "x = ctx.at(«-2», Inner)",
        "a packet begins at byte 0",
        "count from its start",
    ),
    "printk of 13 values": (
        'x = cpu_id()\nprintk(«f"{x}{x}{x}{x}{x}{x}{x}{x}{x}{x}{x}{x}{x}"»)',
        "printk() prints at most 12 values, not 13",
        "print in two calls, or send a record by a RingBuf",
    ),
    "ip4 of no address": (
        'x = ip4(«"10.0.0.256"»)',
        "'10.0.0.256' is no IPv4 address such as 10.0.0.1",
        "write a number, or a constant of the module",
    ),
    "htons of too much": (
        "x = «htons(70000)»",
        "70000 does not fit u16",
        "u16 holds 0 .. 65535",
    ),
}
