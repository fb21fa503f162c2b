"""A data path of one load a pod, in Python and in C: what `codesize` compares.

It is what `beewire/mesh/programs` grew from, and stays as it is, as its twins in C do.
"""
