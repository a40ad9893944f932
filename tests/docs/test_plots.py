"""The plots are those of the results, and say what they show; a ratio that is asked for is found or left out."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from mdfeedd import docs
from mdfeedd.docs import numbers, plots, ratios, results

NAMESPACE = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def kept():
    return results.load(docs.RESULTS)


@pytest.fixture(scope="module")
def made(kept) -> dict[str, str]:
    return dict(plots.plots(kept))


def drawn(text: str, tag: str) -> list[ET.Element]:
    return list(ET.fromstring(text).iter(NAMESPACE + tag))


def test_plots_are_those_of_the_results(made) -> None:
    there = {path.stem: path.read_text() for path in (docs.FOLDER / "plots").iterdir()}
    assert there == made, "write them again: python -m mdfeedd.docs (and remove what is no plot)"


def test_every_plot_is_on_the_page_and_says_what_it_is_of(kept, made) -> None:
    page = numbers.page(kept)
    assert re.findall(r"!\[.+\]\(plots/(\w+)\.svg\)", page)
    for name, text in made.items():
        assert f"(plots/{name}.svg)" in page
        title = next(plot.title for plot in plots.PLOTS if plot.name == name)
        assert ET.fromstring(text).get("aria-label") == title
        assert title in [one.text for one in drawn(text, "text")]


BARS = {"machine": {}, "rows": {"mdfeedd": {"m": 100.0}, "a": {"m": 10.0}, "<b>": {"m": 1.0}}}


def bars(*, is_log: bool) -> plots.Bars:
    return plots.Bars("x", "x", "X", "rows", "m", is_log=is_log)


@pytest.mark.parametrize(("is_log", "widths"), [(False, (1, 0.1, 0.01)), (True, (1, 0.6, 0.3))])
def test_bars_are_as_long_as_their_values(monkeypatch, is_log, widths) -> None:
    monkeypatch.setattr(plots, "PLOTS", (bars(is_log=is_log),))
    ((_, text),) = plots.plots({"x": BARS})
    found = drawn(text, "rect")
    longest = float(found[0].get("width"))
    assert [one.get("class") for one in found] == ["o", "p", "p"]
    for one, wanted in zip(found, widths, strict=True):
        assert float(one.get("width")) / longest == pytest.approx(wanted, abs=0.1)
    assert [one.text for one in drawn(text, "text")] == [
        "X",
        "mdfeedd",
        "100",
        "a",
        "10",
        "<b>",
        "1",
    ]


def test_lines_go_through_their_values(monkeypatch) -> None:
    plot = plots.Lines("x", "x", "X", "rows", "n", "things", (("up", "Up"), ("flat", "Flat")))
    monkeypatch.setattr(plots, "PLOTS", (plot,))
    rows = [{"n": 10**k, "up": 10.0 * k, "flat": 5.0} for k in range(1, 4)]
    ((_, text),) = plots.plots({"x": {"rows": rows}})
    up, flat = (
        [point.split(",") for point in one.get("points").split()] for one in drawn(text, "polyline")
    )
    heights = [float(y) for _, y in up]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.2)
    assert heights[0] > heights[2]
    assert len({y for _, y in flat}) == 1
    steps = [float(x) for x, _ in up]
    assert steps[1] - steps[0] == pytest.approx(steps[2] - steps[1], abs=0.2)
    assert {"Up: 30", "Flat: 5", "10", "100", "1,000", "things"} <= {
        t.text for t in drawn(text, "text")
    }


def test_result_that_is_not_there_makes_no_plot(monkeypatch) -> None:
    line = plots.Lines("y", "x", "Y", "rows", "n", "n", (("m", "M"),))
    monkeypatch.setattr(plots, "PLOTS", (bars(is_log=True), line))
    for found in ({}, {"x": {}}, {"x": {"rows": {"a": {"other": 1}}}}):
        monkeypatch.setattr(plots, "PLOTS", (bars(is_log=True),))
        assert not list(plots.plots(found))
        assert not list(plots.of_section("x", found))
    monkeypatch.setattr(plots, "PLOTS", (line,))
    assert not list(plots.plots({"x": {"rows": [{"n": 1, "m": 2}]}}))


def test_line_that_the_result_does_not_have_is_told(monkeypatch) -> None:
    line = plots.Lines("y", "x", "Y", "rows", "n", "n", (("m", "M"),))
    monkeypatch.setattr(plots, "PLOTS", (line,))
    with pytest.raises(ValueError, match=r"x\.json has no 'm' in each row of 'rows'"):
        list(plots.plots({"x": {"rows": [{"n": 1, "m": 2}, {"n": 2}]}}))


def test_names_of_lines_do_not_lie_on_one_another() -> None:
    assert plots._apart([10.0, 11.0, 40.0, 41.0], 16.0) == [10.0, 26.0, 42.0, 58.0]


# -------------------------------------------------------------------------------------------- ratios


def test_ratio_is_that_of_the_rounds_or_of_two_medians(monkeypatch) -> None:
    chosen = (
        ratios.Ratio("a", "peer", "x", "lines:A"),
        ratios.Ratio("b", "p", "x", "targets:B", peer="p"),
        ratios.Ratio("c", "peer", "x", "rows.mine", "rows.peer", is_time=True),
        ratios.Ratio("d", "peer", "x", "rows.peer", "rows.mine"),
        ratios.Ratio("none", "peer", "x", "lines:none"),
        ratios.Ratio("none", "peer", "x", "rows.none"),
        ratios.Ratio("none", "peer", "other", "rows.mine"),
    )
    monkeypatch.setattr(ratios, "RATIOS", chosen)
    result = {
        "lines": [{"what": "A", "value": 1.234}],
        "targets": [
            {"what": "B", "against": "q 1", "ratio": 9.0},
            {"what": "B", "against": "p 2", "ratio": 0.5},
        ],
        "rows": [{"mine": 1.0, "peer": 20.0}, {"mine": 1.0, "peer": 20.0}],
    }
    assert list(ratios.ratios({"x": result})) == [
        ("a", "peer", "1.23", "more", "x"),
        ("b", "p", "0.50", "more", "x"),
        ("c", "peer", "1/20", "less", "x"),
        ("d", "peer", "20", "more", "x"),
    ]


def test_every_ratio_comes_from_a_benchmark_that_is_there(kept) -> None:
    missing = {ratio.result for ratio in ratios.RATIOS} - set(kept)
    scripts = {path.stem for path in (docs.REPOSITORY / "bench").glob("*.py")}
    assert missing <= scripts
    found = list(ratios.ratios(kept))
    wanted = [ratio for ratio in ratios.RATIOS if ratio.result in kept]
    known = {(what, beside) for what, beside, *_ in found}
    # of what was added since the last run of its benchmark
    since = [r for r in wanted if (r.what, r.beside) not in known]
    peers = ("Disruptor", "Aeron")  # which are not everywhere
    assert [r.beside for r in since if not any(peer in r.beside for peer in peers)] == []
