"""The documentation: pages written by hand, and pages written from what they describe.

    mdfeedd, mdfeedd.ring, mdfeedd.tick ─► api            ─► api.md
    sections, Options of each plugin    ─► configuration  ─► configuration_keys.md
    argparse of each command            ─► commands       ─► commands.md
    ring/mdfeedd.h, dtypes              ─► records        ─► records.md
    catalogue of metrics                ─► metrics_page   ─► metrics.md   (mdfeedd.daemon)
    bench/results/*.json ─► results     ─► numbers        ─► numbers.md
                                        ├► plots          ─► plots/*.svg
                                        └► figures        ─► figures within pages written by hand

``python -m mdfeedd.docs`` writes all that are not as they should be, in a checkout; a test compares them. Nothing
here is imported by anything else. Fails with one sentence where there are no results, or where a page names a
figure that does not exist.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FOLDER", "REPOSITORY", "RESULTS", "pages"]

FOLDER: Final = Path(__file__).resolve().parent
REPOSITORY: Final = FOLDER.parents[1]
RESULTS: Final = REPOSITORY / "bench" / "results"


def pages() -> Iterator[tuple[Path, str]]:
    """Each page that comes from something else, as it should be: its file and its text.

    Raises `ValueError` for a figure that does not exist, `OSError` where there are no results.
    """
    from mdfeedd.daemon import metrics_page  # noqa: PLC0415 - who reads this package wants no daemon
    from mdfeedd.docs import (  # noqa: PLC0415
        api,
        commands,
        configuration,
        figures,
        numbers,
        plots,
        records,
    )
    from mdfeedd.docs import results as kept  # noqa: PLC0415

    results = kept.load(RESULTS)
    yield FOLDER / "api.md", api.page()
    yield FOLDER / "commands.md", commands.page()
    yield FOLDER / "configuration_keys.md", configuration.page()
    yield FOLDER / "metrics.md", metrics_page.page()
    yield FOLDER / "numbers.md", numbers.page(results)
    yield FOLDER / "records.md", records.page()
    for name, text in plots.plots(results):
        yield FOLDER / "plots" / f"{name}.svg", text
    known = figures.figures(results)
    for path in (REPOSITORY / "README.md", *sorted(FOLDER.glob("*.md"))):
        text = path.read_text(encoding="utf-8")
        if figures.MARK.search(text):
            yield path, figures.filled(text, known, path.name)
