"""`python -m xferengine.emulator`."""

import sys

from xferengine.emulator.server import main

if __name__ == "__main__":
    sys.exit(main())
