"""Shadow mode: decide beside iptables without acting, compare, switch, switch back.

A pod in shadow mode is enrolled, and its programs decide on every connection, but leave it
alone: Istio's rules act. Each decision is compared with what the rules did, and counted by
rule. Cutover makes the programs act, without a moment in which neither does; rollback lets
the rules act again.
"""
