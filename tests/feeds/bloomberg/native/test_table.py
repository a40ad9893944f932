"""The table of normalisation by all three paths: what is right is said there, that it is the same is said here."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

TABLE = Path(__file__).parent.parent / "test_normalisation.py"


def cases() -> list[Any]:
    name = "table_of_normalisation"
    spec = importlib.util.spec_from_file_location(name, TABLE)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CASES


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_case_by_all_paths(ways, make_item, case):
    image = {
        "MKTDATA_EVENT_TYPE": "SUMMARY", "MKTDATA_EVENT_SUBTYPE": "INITPAINT", "LAST_PRICE": 100.5,
        "BID": 100.0, "ASK": 101.0, "BID_SIZE": 5, "ASK_SIZE": 7, "IS_DELAYED_STREAM": False,
    }  # fmt: skip
    ways.use([make_item(image, recap=1)])
    ways.use([make_item(message) for message in case.messages])
    assert ways.agree(case.name) == 1 + len(case.ticks)
