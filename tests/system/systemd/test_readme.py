"""The README's way to a service, walked on a real systemd: each line but those that the box has done already."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
SUBSTITUTIONS = {
    # what is said: what is run here
    "sudo apt-get install -y python3-venv python3-dev gcc": "true",  # the box is a machine that has them
    "sudo /usr/bin/python3 -m venv /opt/mdfeedd ": "test -x /opt/mdfeedd/bin/python ",  # made with the box ...
    "sudo /opt/mdfeedd/bin/pip install '.[all]'": "test -x /opt/mdfeedd/bin/mdfeedd",  # ... and what is in it
    "sudo ": "",
}


def test_from_the_readme_to_a_running_service(box) -> None:
    section = (REPOSITORY / "README.md").read_text().partition("## As a service\n")[2]
    (block,) = re.findall(
        r"^```bash\n(.*?)^```$", section.partition("\n## ")[0], re.DOTALL | re.MULTILINE
    )
    for said, run in SUBSTITUTIONS.items():
        assert said in block
        block = block.replace(said, run)
    *steps, status = block.strip().splitlines()
    for step in steps:
        box.run("sh", "-c", step)
    command, _, promised = status.partition("#")
    promised = promised.strip()
    assert promised.startswith("1 feed running, 2 consumers running")

    def as_promised() -> bool:
        told = box.run("sh", "-c", command, check=False).stdout
        return re.sub(r"[\d.]+ k? ?ticks", "ticks", promised) in re.sub(
            r"[\d.]+ k? ?ticks", "ticks", told
        )

    box.until(as_promised, promised)
    box.run("systemctl", "disable", "--now", "mdfeedd")
