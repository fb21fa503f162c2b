"""The short path: what one socket sends goes to the other's queue, past TCP and IP.

    state      tiers, the maps, what is kept of a connection
    keys       how both ends name a connection, and each other
    sockets    what is read of the kernel's sockets
    joining    sock_ops: two ends find each other while they connect
    switching  whether a pod is switched off
    leaving    what closes has taught and counted, and leaves nothing else
    admission  which destinations are worth it
    message    sk_msg: this message by the short path, or by TCP
    parting    an application that is sent much goes back to TCP
    waking     one that has stopped before nothing is left is told of it again
    live       iterator: every connection that is there, and its counters

A connection is on the short path, or on TCP, from message to message; never on both in an
order that a reader could tell. Why that holds stands in `message`; why nobody meets a
stranger stands in `joining`.
"""
