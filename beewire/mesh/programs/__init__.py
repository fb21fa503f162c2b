"""The data path: eBPF programs in Python, one file per job.

    outbound   connect4, connect6        application -> sidecar
    aliases                              the address that it is sent to names where to
    handover   sock_ops                  where it does not, the destination travels along
    original   getsockopt                the sidecar asks SO_ORIGINAL_DST
    inbound    sk_lookup                 network -> sidecar
    view       getpeername4, getpeername6
    addresses  words and ports, as they are held
    decision   what happens to a connection, over explicit values
    deciding   the same, over batches of connections
    task       what the kernel knows of the running process
    state      settings, maps and counters of all of them

One rule: decide where the socket is, keep state in the socket if any is needed, touch no
packet.
"""
