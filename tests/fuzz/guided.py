"""One Python target under atheris, which sees what code an input reaches: ``python -m tests.fuzz.guided TARGET ...``.

Run by ``python -m tests.fuzz``. The rest of the line is libFuzzer's.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["mdfeedd"]):
    from .python_targets import PYTHON_TARGETS

if __name__ == "__main__":
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, PYTHON_TARGETS[name].one)
    atheris.Fuzz()
