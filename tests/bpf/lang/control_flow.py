"""Functions of every kind of control flow, as source text."""

from textwrap import indent

HEAD = """
from enum import IntEnum
from beewire.bpf import *

class Color(IntEnum):
    RED = 1
    BLUE = 2
    GREEN = 3

class Arguments(Struct):
    a: u64
    b: i64
    c: u32

results = Array[u64](1)
calls = Array[u64](1)

def count(x: u64) -> u64:
    if (c := calls.lookup(0)) is not None:
        c.value += 1
    return x

def target(a: u64, b: i64, c: u32) -> u64:
"""
TAIL = """
@xdp
def program(ctx: XdpContext) -> XdpAction:
    at = ctx.at(0, Arguments)
    if at is None:
        return XdpAction.ABORTED
    results[0] = target(at.a, at.b, at.c)
    return XdpAction.PASS
"""
USUAL = [(0, 0, 0), (1, -1, 2), (7, 3, 9), (100, -50, 255)]

# The body of target(a, b, c), and what it is called with beside USUAL.
BODIES: dict[str, tuple[str, list[tuple[int, int, int]]]] = {
    "match with guards, alternatives and a capture": (
        """
match c:
    case Color.RED if a > 0:
        return 1
    case Color.RED | Color.BLUE:
        return 2
    case Color.GREEN:
        return 3
    case x if x > 200:
        return x + a
    case _:
        return 9
""",
        [(0, 0, 1), (1, 0, 1), (0, 0, 2), (0, 0, 3), (5, 0, 255), (5, 0, 77)],
    ),
    "match of negative numbers": (
        """
match b:
    case -1:
        return 1
    case 3 | 4 | -50:
        return 2
    case other:
        return u64(other) + 1
""",
        [],
    ),
    "match that captures alternatives": (
        """
match c:
    case (1 | 2) as k:
        return k + 10
    case 9 as q if q > a:
        return q + 100
return 7
""",
        [],
    ),
    "match of an expression": (
        """
match (a + c) & 3:
    case 0: return 1
    case 1 | 2: return 2
    case _: return 3
""",
        [],
    ),
    "break and continue in a match": (
        """
n = 0
for i in range(10):
    match i:
        case 2: continue
        case 5 if a > 3: break
        case k: n += k
return n
""",
        [],
    ),
    "a range that counts down past zero": (
        """
n = 0
for i in range(10, -3, -3):
    n = n * 3 + u64(i + 3)
return n
""",
        [],
    ),
    "a range that counts down from a variable": (
        """
n = 0
for i in range(c, 0, -2):
    n += u64(i)
return n
""",
        [],
    ),
    "a range with a step and a variable end": (
        """
n = 0
for i in range(3, c, 7):
    n += i
return n
""",
        [],
    ),
    "for with else": (
        """
for i in range(20):
    if i == a:
        break
else:
    return 99
return i
""",
        [],
    ),
    "while with else": (
        """
n = a
while n > 3:
    n -= 2
    if n == 50:
        break
else:
    n += 1000
return n
""",
        [],
    ),
    "while True": (
        """
n = a
k = 0
while True:
    if n == 0 or k > 70:
        break
    n >>= 1
    k += 1
return k
""",
        [],
    ),
    "in a range with a step": (
        """
n = 0
if c in range(1, 100, 4):
    n += 1
if c in range(0, a, 3):
    n += 2
if b in range(-60, 60, 5):
    n += 4
if b in range(60, -60, -5):
    n += 8
if c not in range(2, 300, 7):
    n += 16
return n
""",
        [(1, -1, 1), (10, 5, 9), (300, -55, 97), (4, 60, 3)],
    ),
    "in a tuple of variables": (
        """
n = 0
if c in (a, 9, 2):
    n += 1
if b not in (-1, 3):
    n += 2
if c in [1, 2] or c in {0, 255}:
    n += 4
if Color.RED in (1, 2):
    n += 8
return n
""",
        [],
    ),
    "chains of unlike comparisons": (
        """
n = 0
if 1 <= a == 7 < c != 100:
    n = 1
if 0 <= a in (1, 7) and a < c in (9, 2):
    n += 2
return n
""",
        [],
    ),
    "a chain as a value": (
        """
x = 0 < a < c
return u64(x)
""",
        [],
    ),
    "a walrus in the condition of a loop": (
        """
n = 0
while (k := a >> n) > 0 and n < 10:
    n += 1
y = (z := c + 1) * 2
return n + y + z + k
""",
        [],
    ),
    "a walrus within other expressions": (
        """
x = (p := a + 1) if (q := c) > 5 else 3
if 0 < (r := a * 2) < 100:
    x += r
return x + q
""",
        [],
    ),
    "choices in choices": (
        """
return 1 if a == 0 else 2 if a == 1 else (3 if c > 8 else 4)
""",
        [],
    ),
    "and, or, not as values": (
        """
x = a and c
y = a or c or 5
z = not a
return x + y * 100 + u64(z)
""",
        [],
    ),
    "loops in loops": (
        """
n = 0
for i in range(6):
    for j in range(i):
        if j == a:
            break
        if j == 3:
            continue
        n += j
    else:
        n += 100
return n
""",
        [],
    ),
    "return from a loop in a loop": (
        """
for i in range(8):
    for j in range(8):
        if i * j == a:
            return i * 10 + j
return 77
""",
        [],
    ),
    "while not": (
        """
n = a
while not (n < 10):
    n //= 2
return n
""",
        [],
    ),
    "the counter after its loop": (
        """
i = 5
for i in range(c & 3):
    pass
return i
""",
        [],
    ),
    "empty ranges": (
        """
n = 0
for i in range(5, 5): n += 1
for i in range(5, 2): n += 1
for i in range(0): n += 1
return n
""",
        [],
    ),
    "if, elif, else without work": (
        """
if a:
    pass
elif c: return 3
else:
    ...
return 4
""",
        [],
    ),
    "a truth compared with True": (
        """
flag = a > 3
if flag == True:
    return 1
return 0
""",
        [],
    ),
    "match of a walrus": (
        """
match (k := c & 7):
    case 0 | 1: return k
    case n if n & 1: return n + k
return 42
""",
        [],
    ),
    "a range with a large variable end": (
        """
n = 0
for i in range(a):
    n += i
return n
""",
        [(6000, 0, 0), (5, 0, 0)],
    ),
    "a range with a large constant end": (
        """
n = 0
for i in range(5000):
    n += i ^ c
return n
""",
        [(1, 1, 1)],
    ),
    "while for as long as it takes": (
        """
n = 0
k = a
while k != 0:
    k -= 1
    n += 3
return n
""",
        [(6000, 0, 0), (5, 0, 0)],
    ),
}


def source(body: str) -> str:
    return HEAD + indent(body.strip("\n"), "    ") + "\n" + TAIL
