"""Count system calls by class for each process: files, memory, processes, network, time."""

from enum import IntEnum

from beewire.bpf import (
    Global,
    LruHash,
    RawTracepoint,
    Struct,
    array,
    current_tgid,
    raw_tracepoint,
    u32,
    u64,
)


class Class(IntEnum):
    OTHER = 0
    READ = 1
    WRITE = 2
    OPEN = 3
    CLOSE = 4
    STAT = 5
    POLL = 6
    MEMORY = 7
    SIGNAL = 8
    PROCESS = 9
    NETWORK = 10
    TIME = 11
    DIRECTORY = 12
    IDENTITY = 13
    SYNCHRONIZE = 14


class Usage(Struct):
    calls: list[u64] = array(u64, 16)
    last: u32
    streak: u32
    longest: u32
    rare: u32


class Only(Struct):
    tgid: u32  # 0 means all


usages = LruHash[u32, Usage](max_entries=4096)
only = Global(Only)


def class_of(number: u64) -> u32:
    """The class of a system call of x86-64."""
    match number:
        case 0 | 17 | 19 | 295 | 327:
            return Class.READ
        case 1 | 18 | 20 | 296 | 328 | 40:
            return Class.WRITE
        case 2 | 85 | 257 | 437:
            return Class.OPEN
        case 3 | 436:
            return Class.CLOSE
        case 4 | 5 | 6 | 262 | 332 | 21 | 269 | 439:
            return Class.STAT
        case 7 | 23 | 232 | 233 | 270 | 271 | 281 | 291 | 213:
            return Class.POLL
        case 9 | 10 | 11 | 12 | 25 | 26 | 27 | 28 | 149 | 150:
            return Class.MEMORY
        case 13 | 14 | 15 | 62 | 127 | 128 | 129 | 130 | 131 | 200 | 234:
            return Class.SIGNAL
        case 56 | 57 | 58 | 59 | 60 | 61 | 231 | 247 | 322 | 435:
            return Class.PROCESS
        case n if n in range(41, 56):
            return Class.NETWORK
        case 288 | 299 | 307:
            return Class.NETWORK
        case 35 | 96 | 201 | 228 | 229 | 230 | 283 | 286:
            return Class.TIME
        case 78 | 79 | 80 | 82 | 83 | 84 | 217 | 258 | 263 | 264 | 316:
            return Class.DIRECTORY
        case n if n in range(102, 127):
            return Class.IDENTITY
        case 39 | 186:
            return Class.IDENTITY
        case 74 | 75 | 162 | 202 | 306:
            return Class.SYNCHRONIZE
        case _:
            return Class.OTHER


def note(usage: Usage, kind: u32) -> None:
    usage.calls[kind & 15] += 1
    if usage.last == kind:
        usage.streak += 1
        usage.longest = max(usage.longest, usage.streak)
    else:
        usage.last = kind
        usage.streak = 1
    if kind == Class.OTHER:
        usage.rare += 1


@raw_tracepoint("sys_enter")
def on_syscall(ctx: RawTracepoint) -> None:
    tgid = current_tgid()
    if only.tgid not in (0, tgid):
        return
    kind = class_of(ctx.args[1])
    if (usage := usages.lookup(tgid)) is None:
        usages[tgid] = Usage()
        if (usage := usages.lookup(tgid)) is None:
            return
    note(usage, kind)
