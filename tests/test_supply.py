"""The bill of materials and the audit name what pyproject names."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, str(REPOSITORY / ".ci" / "supply.py")]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def run(*arguments):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)


def names(texts):
    return {canonicalize_name(Requirement(text).name) for text in texts}


def test_audit_knows_each_package_and_its_least_version():
    done = run("audit", "--offline")
    assert done.returncode == 0, done.stdout + done.stderr
    told = names(line.split()[0] for line in done.stdout.splitlines())
    assert names(PROJECT["dependencies"]) <= told
    assert "websockets" in told
    assert "pytest" not in told


def test_every_dependency_has_a_least_version():
    product = [*PROJECT["dependencies"]]
    for extra, needed in PROJECT["optional-dependencies"].items():
        product += needed if extra not in {"all", "bench", "supply", "test"} else []
    assert all(Requirement(text).specifier for text in product)


@pytest.mark.skipif(importlib.util.find_spec("cyclonedx_py") is None, reason="no cyclonedx-bom")
def test_bill_of_materials(tmp_path):
    done = run("sbom", str(tmp_path / "sbom.json"))
    assert done.returncode == 0, done.stderr
    bill = json.loads((tmp_path / "sbom.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    root = bill["metadata"]["component"]
    assert (root["name"], root["version"]) == ("mdfeedd", PROJECT["version"])
    parts = {part["bom-ref"]: part for part in bill["components"]}
    edges = {edge["ref"]: edge.get("dependsOn", []) for edge in bill["dependencies"]}
    direct = {canonicalize_name(parts[ref]["name"]) for ref in edges[root["bom-ref"]]}
    assert names(PROJECT["dependencies"]) <= direct
    assert not direct & {"pytest", "ruff", "mypy", "hypothesis"}
    assert all(part["version"] and part["purl"].startswith("pkg:pypi/") for part in parts.values())
    reached, waiting = set(), [root["bom-ref"]]
    while waiting:
        ref = waiting.pop()
        if ref not in reached:
            reached.add(ref)
            waiting += edges.get(ref, [])
    assert reached == {root["bom-ref"], *parts}  # nothing that nothing needs
