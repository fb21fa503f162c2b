"""How long the lab waits for what it starts, compared with a usual machine."""

import os

# `beewire guest` sets it: a virtual machine without KVM is twenty times as slow.
PATIENCE = 6 if "BEEWIRE_GUEST" in os.environ else 1
