"""Fixtures for all tests: a private folder for rings, and the sample data where they are present."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture
def shm_dir() -> Iterator[str]:
    """A folder of this test's own on the shared-memory file system."""
    path = tempfile.mkdtemp(prefix="mdfeedd-test-", dir="/dev/shm")
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def testdata() -> Path:
    """The folder of real captures and samples; the test is skipped where it is absent."""
    path = Path(os.environ.get("MDFEEDD_TESTDATA", REPOSITORY.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no sample data at {path} (set MDFEEDD_TESTDATA)")
    return path
