"""`python -m beewire` is the `beewire` command."""

import sys

from beewire.cli import main

if __name__ == "__main__":
    sys.exit(main())
