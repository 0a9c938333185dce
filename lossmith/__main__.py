"""`python -m lossmith` is the command `lossmith`."""

import sys

from lossmith.cli import main

if __name__ == "__main__":
    sys.exit(main())
