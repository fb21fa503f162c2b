"""Which connections are worth joining: those to destinations where they live long.

To join costs two ends about as much as some messages by TCP, and to part again. So a
destination that a pod dials has a Habit: how many messages one direction of its
connections carries, as a moving average. A connection is joined where that is more than it
takes to pay; where nothing is known yet, it depends on the tier.

Both ends of a connection that has joined add to it what they have sent, when it closes. One
that was left on TCP costs nothing more while it is short. When it has gone on for long
enough it teaches, too (RTT_CB, once a round trip, until then), and does not wait for its
end: the next connection is joined. One long connection teaches more than a short one
forgets: a destination that changes is known anew after one long or some short ones.

What has not been accepted yet may turn out to belong to somebody who waits inside recv().
Who accepted the last one tells who accepts the next: where that one did not wait, messages
take the short path at once, and are not mixed with others that came by TCP.
"""

from beewire.bpf import u32
from beewire.mesh.programs.bypass.state import (
    PAYS,
    Destination,
    End,
    Flow,
    Habit,
    Owner,
    PodTier,
    Tier,
    Why,
    habits,
    pays,
)

ONE = 16  # a message, in a Habit
MOST = 32  # messages of one connection that count
LONG = 16  # segments in one direction from which a live connection teaches
WEIGHT = 4  # a connection is a quarter of the average


def dialled_by(destination: Destination, own: End, role: u32) -> None:
    """The destination of the end that dialled."""
    destination.netns = own.netns
    destination.role = role
    destination.address = own.remote
    destination.port = own.remote_port


def refusal(destination: Destination, pod: PodTier) -> u32:
    """Why a connection to a destination is not joined (Why); NOTHING: it is."""
    if (habit := habits.lookup(destination)) is None:
        return Why.UNKNOWN if pod.tier == Tier.AUTO else Why.NOTHING
    return Why.NOTHING if habit.messages >= pays.value else Why.SHORT_LIVED


def learn(destination: Destination, messages: u32) -> None:
    """A connection to a destination carried so many messages in one direction.

    One that carried none was a probe: it tells nothing of those that are to carry some.
    """
    if messages == 0:
        return
    counted: u32 = (min(MOST, messages)) * ONE
    if (habit := habits.lookup(destination)) is None:
        habits.update(destination, Habit(messages=counted))
        return
    if counted > habit.messages:
        habit.messages = habit.messages + (counted - habit.messages) // WEIGHT
    else:
        habit.messages = habit.messages - (habit.messages - counted) // WEIGHT


def expects(flow: Flow) -> bool:
    """Whether who accepts what this end has dialled will not wait inside recv()."""
    destination = Destination()
    dialled_by(destination, flow.own, flow.role)
    if (habit := habits.lookup(destination)) is None:
        return False
    return habit.owner == Owner.READY


def saw(flow: Flow, owner: u32) -> None:
    """Remember who has accepted what this end has dialled."""
    destination = Destination()
    dialled_by(destination, flow.own, flow.role)
    if (habit := habits.lookup(destination)) is None:
        habits.update(destination, Habit(messages=PAYS, owner=owner))
        return
    habit.owner = owner
