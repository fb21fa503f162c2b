"""The differential fuzzer: random programs of the whole language, run three ways.

    python -m tests.bpf.fuzz --programs 500 --seed 1

Every program is compiled by our own generator and, where it can express it, by LLVM; both
run in the kernel (BPF_PROG_TEST_RUN) on the same inputs, and `evaluate()` runs the source.
What they return, what they write to the packet, and all that they leave in maps, globals
and ring buffers has to be the same.

    shapes       types of integers, and random structs
    maker        the text in the making: scope, lines, which constructs are in use
    expressions  statements  memory  maps  functions    what programs are made of
    program      a whole program from a seed
    trial        one program, run three ways
    shrink       a shorter program with the same fault
    campaign     many programs, in several processes
    report       what came of them, for people and for docs/benchmarks.md
    planted      faults put into the generator, to see that they are found
"""
