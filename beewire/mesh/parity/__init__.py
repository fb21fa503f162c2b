"""Proof that Beewire decides as Istio's rules do.

    rules            the rules that Istio would write for a configuration
    nft              the same in nft's notation
    oracle           what rules do to a packet; knows nothing of Beewire's decision
    oracle_rules     matches and targets, whatever their notation
    oracle_iptables  iptables' notation
    oracle_nft       nft's notation
    cells            every packet that rules can tell apart
    unreached        why no packet meets a rule
    goldens          the configurations of Istio's golden files
    configurations   configurations at random
    kernel           the programs' decision, run by the kernel in batches
    deltas           the differences that are meant
    judge            one configuration, asked three ways
    campaign         a million connections
    telling          connections and configurations in one line

Three sides, and each is written without looking at the others: rules as text, the decision
as Python, the decision as programs.
"""

from beewire.mesh.parity.nft import nft_input
from beewire.mesh.parity.rules import RestoreInput, restore_inputs, routing_commands

__all__ = ["RestoreInput", "nft_input", "restore_inputs", "routing_commands"]
