"""Ready-made tools that look at a running machine.

profile   where time goes: stacks on and off the CPU
flame     flame graphs of stacks: SVG and HTML
"""
