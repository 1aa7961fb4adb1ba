"""`python -m raytrack`."""

import sys

from raytrack.cli import main

if __name__ == "__main__":
    sys.exit(main())
