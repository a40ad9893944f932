"""What mdfeedd is made of, beside itself: a list for others, and a look for known holes.

    python .ci/supply.py sbom FILE    a CycloneDX bill of materials (JSON) of this environment: what mdfeedd needs, no tools
    python .ci/supply.py audit        each package that it needs: the least version, the one that is here, known holes

Both want the extra ``mdfeedd[supply]``. `audit` asks the database of PyPI by pip-audit; exit status: 0 no hole is
known, 1 one is, or a version is too old, 3 there is no database within reach (the versions were looked at). With
``--offline`` none is asked.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
TOOLS = {"all", "bench", "supply", "test"}
"""Extras of which nothing is needed to run."""
WELL, BAD, UNASKED = 0, 1, 3


def declared() -> list[Requirement]:
    """What pyproject names for running, of all extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = list(project["dependencies"])
    for extra, needed in project["optional-dependencies"].items():
        texts += needed if extra not in TOOLS else []
    found = {canonicalize_name(r.name): r for r in map(Requirement, texts)}
    return [found[name] for name in sorted(found)]


def installed() -> dict[str, str]:
    """All that those need, as it is here: name to version."""
    found: dict[str, str] = {}
    waiting = [(requirement.name, requirement.extras) for requirement in declared()]
    while waiting:
        name, extras = waiting.pop()
        key = canonicalize_name(name)
        try:
            here = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if key in found and not extras:
            continue
        found[key] = here.version
        for text in here.requires or ():
            needed = Requirement(text)
            environments = [{**default_environment(), "extra": extra} for extra in ("", *extras)]
            wanted = needed.marker is None or any(map(needed.marker.evaluate, environments))
            if wanted and canonicalize_name(needed.name) not in found:
                waiting.append((needed.name, needed.extras))
    return found


def versions() -> tuple[list[str], int]:
    """A line for each package that is declared, and how it is."""
    lines, status = [], WELL
    for requirement in declared():
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            lines.append(f"{requirement!s:32} is not here: its extra is not installed")
            continue
        fits = requirement.specifier.contains(version, prereleases=True)
        lines.append(f"{requirement!s:32} {version}{'' if fits else ': TOO OLD'}")
        status = status if fits else BAD
    return lines, status


def holes() -> tuple[list[str], int]:
    """What pip-audit knows of the packages that are here."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("".join(f"{name}=={version}\n" for name, version in installed().items()))
        file.flush()
        done = subprocess.run(
            [
                sys.executable, "-m", "pip_audit", "-r", file.name, "--no-deps", "--disable-pip", "-f", "json",
                "--progress-spinner", "off",
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    try:
        told = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return [f"pip-audit: {done.stderr.strip()[-300:]}"], UNASKED
    asked = [one for one in told if "skip_reason" not in one]
    if not asked:
        return ["no database of known holes is within reach: not asked"], UNASKED
    found = [
        f"{one['name']} {one['version']}: {hole['id']}, mended in {', '.join(hole['fix_versions']) or 'none yet'}"
        for one in asked
        for hole in one["vulns"]
    ]
    return [*found, f"{len(asked)} of {len(told)} packages asked about"], BAD if found else WELL


def sbom(path: Path) -> None:
    """Write it: of all that is installed, what mdfeedd needs when it runs."""
    subprocess.run(
        [
            sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", str(ROOT / "pyproject.toml"),
            "--output-reproducible", "--no-validate", "--of", "JSON", "-o", str(path), sys.executable,
        ],
        check=True,
    )  # fmt: skip
    bill = json.loads(path.read_text())
    wanted = installed()
    kept = [part for part in bill["components"] if canonicalize_name(part["name"]) in wanted]
    refs = {part["bom-ref"] for part in kept}
    root = bill["metadata"]["component"]["bom-ref"]
    direct = {canonicalize_name(requirement.name) for requirement in declared()}
    first = {part["bom-ref"] for part in kept if canonicalize_name(part["name"]) in direct}
    for edge in bill["dependencies"]:
        after = edge.get("dependsOn", [])
        edge["dependsOn"] = [
            ref for ref in after if ref in (first if edge["ref"] == root else refs)
        ]
    bill["dependencies"] = [edge for edge in bill["dependencies"] if edge["ref"] in {root, *refs}]
    bill["components"] = kept
    path.write_text(json.dumps(bill, indent=2) + "\n")


def main() -> int:
    """Do it; the exit status."""
    parser = argparse.ArgumentParser(prog="python .ci/supply.py", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("sbom").add_argument("file", type=Path)
    commands.add_parser("audit").add_argument("--offline", action="store_true")
    arguments = parser.parse_args()
    if arguments.command == "sbom":
        sbom(arguments.file)
        return WELL
    lines, status = versions()
    if not arguments.offline:
        more, worse = holes()
        lines, status = lines + more, BAD if BAD in {status, worse} else worse
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    raise SystemExit(main())
