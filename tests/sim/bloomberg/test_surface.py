"""The stand-in against the facts about the published package: names, order, kinds, defaults, numbers."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys

import pytest

KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: "pos",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "pos",
    inspect.Parameter.VAR_POSITIONAL: "var",
    inspect.Parameter.KEYWORD_ONLY: "kw",
    inspect.Parameter.VAR_KEYWORD: "varkw",
}


@pytest.fixture(scope="module")
def facts(testdata):
    folder = testdata / "blpapi"
    if not folder.is_dir():
        pytest.skip(f"no facts at {folder}")
    known = json.loads((folder / "blpapi_surface.json").read_text())["classes"]
    return known, json.loads((folder / "subset.json").read_text())


def find(module, dotted):
    found = module
    for part in dotted.split("."):
        found = getattr(found, part, None)
    return found


def spec(known, cls, member):
    if cls not in known:
        return None
    if member in known[cls]["methods"]:
        return known[cls]["methods"][member]
    specs = (spec(known, base, member) for base in known[cls]["bases"])
    return next((s for s in specs if s), None)


def complaints(module, known, subset):
    for cls, members in subset.items():
        found = find(module, cls)
        if found is None:
            yield f"{cls} is missing"
            continue
        for base in known[cls]["bases"]:
            if base in known and not issubclass(found, find(module, base)):
                yield f"{cls} is no {base}"
        for name, want in known[cls]["constants"].items():
            got = getattr(found, name, None)
            got = getattr(got, "value", got)
            if want is not None and got != want and str(got) != want:
                yield f"{cls}.{name} is {got!r}, not {want!r}"
        for member in members:
            method = getattr(found, member, None)
            if method is None:
                yield f"{cls}.{member} is missing"
                continue
            want = [
                tuple(p) for p in spec(known, cls, member)["params"] if p[0] not in ("self", "cls")
            ]
            got = [
                (p.name, KINDS[p.kind], p.default is not p.empty)
                for p in inspect.signature(method).parameters.values()
                if p.name not in ("self", "cls")
            ]
            if got != want:
                yield f"{cls}.{member} has {got}, not {want}"


def test_stand_in_differs_from_the_published_surface(blpapi, facts):
    assert blpapi.IS_STAND_IN
    assert list(complaints(blpapi, *facts)) == []


def test_check_of_the_surface_sees_a_difference(blpapi, facts, monkeypatch):
    monkeypatch.setattr(blpapi.Session, "nextEvent", lambda self, timeout: None)
    monkeypatch.setattr(blpapi.Event, "TIMEOUT", 11)
    monkeypatch.delattr(blpapi, "ZfpUtil")
    found = "\n".join(complaints(blpapi, *facts))
    assert "Session.nextEvent has" in found
    assert "Event.TIMEOUT is 11, not 10" in found
    assert "ZfpUtil is missing" in found


def test_stand_in_is_on_nobodys_path_by_itself():
    code = "import sys, mdfeedd.sim.bloomberg; print(any('stand_in' in p for p in sys.path))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "False"


REAL = """
import importlib.util, json, sys, blpapi
spec = importlib.util.spec_from_file_location("surface", sys.argv[1])
surface = importlib.util.module_from_spec(spec)
spec.loader.exec_module(surface)
known = json.loads(open(sys.argv[2]).read())["classes"]
print(json.dumps(list(surface.complaints(blpapi, known, json.loads(open(sys.argv[3]).read())))))
"""


def test_real_package_has_the_surface(facts, testdata, with_real_package):
    files = [testdata / "blpapi" / name for name in ("blpapi_surface.json", "subset.json")]
    assert json.loads(with_real_package(REAL, __file__, *map(str, files))) == []
