"""What programs do with maps: one module for each family of kinds.

A declaration names its module (`lowering`) and lists the operations that the kernel
allows for its kind (`operations`); the module's OPERATIONS say how each is compiled.
A family is imported when a program first uses it.

    common     finding an operation, keys and values as arguments, maps inside maps
    keyed      hash, array, LRU, per-CPU, longest prefix match
    rings      ring buffers
    storage    values in sockets, tasks, files, cgroups
    sockets    maps of sockets
    queues     queues, stacks, Bloom filters
    redirects  maps of devices, CPUs and AF_XDP sockets
    events     perf buffers, stack traces, arrays of cgroups
    nested     arrays and hashes of maps
    programs   arrays of programs
    arena      arenas
"""
