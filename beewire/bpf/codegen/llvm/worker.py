"""The child process: LLVM IR text in, object files out, until its input ends.

LLVM's BPF back end calls exit() on what it cannot do, and aborts on the rest: so it lives
apart. A request is a header (length of the text, instruction set) and the text; an answer
a header (status, length) and the object file, or what is wrong. Nothing of Beewire is
imported here, so that it starts as fast as LLVM does.
"""

import struct
import sys

REQUEST = struct.Struct("<IB")
ANSWER = struct.Struct("<BI")
OBJECT, REFUSED, MISSING = range(3)


def main() -> None:
    """Answer requests."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while len(header := source.read(REQUEST.size)) == REQUEST.size:
        length, level = REQUEST.unpack(header)
        status, answer = attempt(source.read(length).decode(), level)
        sink.write(ANSWER.pack(status, len(answer)) + answer)
        sink.flush()


def attempt(text: str, level: int) -> tuple[int, bytes]:
    """Compile; the status, and the object file or what is wrong."""
    try:
        return OBJECT, build(text, level)
    except ImportError as error:
        return MISSING, str(error).encode()
    except RuntimeError as error:
        return REFUSED, str(error).encode()


def build(text: str, level: int) -> bytes:
    """The object file of a module, optimised for instruction set `level`."""
    from llvmlite import binding as llvm  # noqa: PLC0415 - its absence is an answer

    if not _ready:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
        _ready.append(llvm.Target.from_triple("bpfel"))
    machine = _ready[0].create_target_machine(cpu=f"v{level}", opt=2)
    module = llvm.parse_assembly(text)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    compiled: bytes = machine.emit_object(module)
    return compiled


_ready: list = []  # type: ignore[type-arg]  # the target, when it is made


if __name__ == "__main__":
    main()
