"""The plugin classes of these tests are found by name, in this process and in the workers."""

from __future__ import annotations

import sys
from pathlib import Path

PLUGINS = Path(__file__).parent / "plugins"
if str(PLUGINS) not in sys.path:
    sys.path.append(str(PLUGINS))
