"""Where time goes: sampled stacks of what runs, or timed stacks of what waits.

    with Symbolizer() as symbols:
        with Recorder(Options(pids=(1234,)), symbols) as recorder:
            recorder.wait(10)
            profile = resolve(recorder.finish(), symbols)
        print(folded(profile.stacks))

options    what is to be recorded
programs   the eBPF programs (deep: the one that copies stacks)
taking     what each of them leaves, as stacks of addresses
recorder   attach them, follow the processes, count
watch      what the processes have mapped
stacks     addresses -> frames, folded text, how whole the stacks are
"""

from beewire.trace.profile.options import Options
from beewire.trace.profile.recorder import Recorder, Recording, Sample, unwind_fault
from beewire.trace.profile.stacks import Profile, Stack, Wholeness, folded, resolve

__all__ = [
    "Options",
    "Profile",
    "Recorder",
    "Recording",
    "Sample",
    "Stack",
    "Wholeness",
    "folded",
    "resolve",
    "unwind_fault",
]
