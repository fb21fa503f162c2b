"""The decision over batches of connections, for whoever wants to know what it would be.

Fill `flows`, run `decide_batch` with their number, read `verdicts`: user space maps both
arrays. Nothing is attached.
"""

from beewire.bpf import Array, Struct, loop, syscall, u32, u64
from beewire.mesh.programs.decision import Flow, decide_inbound, decide_outbound
from beewire.mesh.programs.state import configs

MOST = 4096  # connections in a batch
UNKNOWN = 0  # the verdict on a flow whose configuration does not exist


class Asked(Struct):
    """One connection, and which way it goes."""

    flow: Flow
    inbound: u32


class Batch(Struct):
    """How many of `flows` are to be decided."""

    count: u32


flows = Array[Asked](max_entries=MOST, mmap=True)
verdicts = Array[u64](max_entries=MOST, mmap=True)


def decide_one(index: u32, _: Batch) -> bool:
    """Decide the flow at `index`; True would end the batch."""
    if (asked := flows.lookup(index)) is None:
        return True
    verdict: u64 = UNKNOWN
    if (config := configs.lookup(asked.flow.owner)) is not None:
        if asked.inbound != 0:
            verdict = decide_inbound(config, asked.flow)
        else:
            verdict = decide_outbound(config, asked.flow)
    verdicts[index] = verdict
    return False


@syscall
def decide_batch(ctx: Batch) -> int:
    """Decide the first `ctx.count` of `flows`."""
    batch = Batch(count=ctx.count)
    loop(batch.count, decide_one, batch)
    return 0
