"""Istio's iptables rules: the oracle that Beewire's decisions are compared with.

for table in restore_inputs(PodConfig(inbound_ports_include=ALL)):
    print(table.family, table.text)
"""

from beewire.mesh.parity.rules import RestoreInput, restore_inputs

__all__ = ["RestoreInput", "restore_inputs"]
