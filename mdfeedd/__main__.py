"""``python -m mdfeedd``: the same as the command ``mdfeedd``."""

from __future__ import annotations

import sys

from mdfeedd.cli import main

if __name__ == "__main__":
    sys.exit(main())
