"""The pages that are written from something else are as it is now; links lead somewhere; examples are valid."""

from __future__ import annotations

import doctest
import re
from datetime import datetime
from pathlib import Path

import pytest

from mdfeedd import docs
from mdfeedd.daemon import config
from mdfeedd.daemon.problems import ConfigError
from mdfeedd.docs import figures, markdown, numbers, results

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "mdfeedd" / "docs").glob("*.md"))]
GENERATED = {"api", "commands", "configuration_keys", "metrics", "numbers", "records"}


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    for package in ("pyarrow", "confluent_kafka", "psycopg", "redis", "websockets"):
        pytest.importorskip(package)
    return {path.stem: text for path, text in docs.pages() if path.suffix == ".md"}


@pytest.mark.parametrize("name", sorted(GENERATED))
def test_page_is_what_it_is_written_from(made, name) -> None:
    written = (docs.FOLDER / f"{name}.md").read_text()
    assert written == made[name], "write it again: python -m mdfeedd.docs"


def test_figures_in_pages_are_those_of_the_results(made) -> None:
    filled = {path for path in PAGES if figures.MARK.search(path.read_text())}
    assert {path.stem for path in filled} == set(made) - GENERATED
    for path in filled:
        assert path.read_text() == made[path.stem], "write it again: python -m mdfeedd.docs"
        assert "numbers.md)" in path.read_text(), "where they were measured, when and on what"


def test_figure_that_nobody_knows_is_told() -> None:
    text = "<!--=ring.nothing-->1<!--/-->"
    with pytest.raises(ValueError, match=r"x\.md: no figure ring\.nothing"):
        figures.filled(text, figures.figures({}), "x.md")


def test_result_that_has_another_shape_is_told() -> None:
    machine = {"cpu": "one", "cpus": 2, "kernel": "Linux", "command": "python bench/dbn.py"}
    with pytest.raises(ValueError, match=r"dbn\.json has nothing at 'million_records_per_s'"):
        numbers.page({"dbn": {"machine": machine, "rows": {}}})
    for result in ({}, {"rounds": []}, {"rounds": {"handler": "fast"}}):
        with pytest.raises(ValueError, match=r"cme\.json has no number at 'rounds\.handler'"):
            figures.figures({"cme": result})["cme.packet"]()


def test_figure_is_replaced_and_its_marks_stay() -> None:
    known = {"a.b": lambda: "2 ns"}
    text = "takes <!--=a.b-->1 ns<!--/--> and <!--=a.b-->1\nns<!--/-->"
    filled = figures.filled(text, known, "x.md")
    assert filled == "takes <!--=a.b-->2 ns<!--/--> and <!--=a.b-->2 ns<!--/-->"


def test_every_result_is_on_the_page_with_its_command(made) -> None:
    kept = results.load(docs.RESULTS)
    assert kept
    for result in kept.values():
        command = results.machine_of(result).get("command", result.get("command"))
        assert f"`{command}`" in made["numbers"]


def test_every_result_tells_its_machine_date_and_command() -> None:
    for name, result in results.load(docs.RESULTS).items():
        found = results.machine_of(result)
        assert {"cpu", "cpus", "kernel", "compiler", "python", "load_average"} <= set(found), name
        assert datetime.fromisoformat(found["date"]).tzinfo is not None, name
        script = found["command"].split()[1]
        assert script == f"bench/{name}.py", name
        assert (REPOSITORY / script).exists()


MEASURED = re.compile(
    r"(?<![\w.#`-])\d[\d.,]*\s?(?:ns|µs|us|ms|times\b|\u00d7(?! [rhc]\b)|[Mk]?\s?(?:records|ticks|rows|lines|messages|packets)/s)"
)
BY_HAND = {  # what is chosen, not measured
    "bench/README.md": {"30 M records/s", "2 ms", "1 M records/s"},
}


@pytest.mark.parametrize(
    "path",
    [*(page for page in PAGES if page.stem not in GENERATED), REPOSITORY / "bench" / "README.md"],
    ids=lambda path: str(path.relative_to(REPOSITORY)),
)
def test_figure_in_prose_that_comes_from_no_result(path) -> None:
    """Outside of code: a time, a rate or a ratio is filled in from a result, between marks (see figures.py)."""
    text = re.sub(r"^```.*?^```$|^    .*?$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    found = set(MEASURED.findall(figures.MARK.sub("", text)))
    assert found == BY_HAND.get(str(path.relative_to(REPOSITORY)), set())


def test_figure_in_prose_is_seen() -> None:
    assert MEASURED.findall("takes 1.5 µs, 40 M ticks/s or 3 rows/s, 2.0 times as much") == [
        "1.5 µs", "40 M ticks/s", "3 rows/s", "2.0 times",
    ]  # fmt: skip
    assert not MEASURED.findall("ESZ6 takes 64 bytes, r \u00d7 64 \u00d7 h, for 10 minutes")


def test_numbers_keep_four_digits_and_counts_all() -> None:
    given = [1116, 1.11649, 20840.09, 0.0466, True, None]
    assert [markdown.number(value) for value in given] == [
        "1,116",
        "1.116",
        "20,840",
        "0.0466",
        "yes",
        "",
    ]
    assert markdown.cell("a|b\nc") == "a\\|b c"


def test_keys_are_written_as_people_do() -> None:
    result = {
        "machine": {"cpu": "one", "cpus": 2, "kernel": "Linux", "command": "python bench/x.py"}
    }
    rows = {"a_b": {"k_rows_per_s": 1116, "m_ticks_s": 0.5, "wall_m_per_s": 2.5, "p50_us": 3}}
    page = numbers.page({"x": result | {"rows": rows, "single": {"lib_x.Decoder": 7}}})
    assert "|  | k rows/s | M ticks/s | wall M/s | p50 µs |" in page
    assert "| a_b | 1,116 | 0.5 | 2.5 | 3 |" in page
    assert "| lib_x.Decoder | 7 |" in page


def test_medians_are_of_the_rounds_that_have_a_number() -> None:
    rounds = [{"a": 1, "b": {"c": 5.0}}, {"a": 3, "b": {"c": 7.0}}, {"a": 2}]
    assert results.medians(rounds) == {"a": 2, "b": {"c": 6.0}}
    assert results.at({"x.y": rounds}, r"x\.y.b.c") == 6.0
    assert results.at({"x": rounds}, "x.1.a") == 3


# ---------------------------------------------------------------------------------- what is by hand


def headings(path: Path) -> set[str]:
    """Anchors as GitHub makes them."""
    seen: dict[str, int] = {}
    found = set()
    for text in re.findall(r"^#+ (.*)$", path.read_text(), flags=re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        again = seen[slug] = seen.get(slug, -1) + 1
        found.add(f"{slug}-{again}" if again else slug)
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path) -> None:
    for target, anchor in re.findall(
        r"\]\((?!https?:)([\w./-]*)(?:#([\w-]+))?\)", path.read_text()
    ):
        place = (path.parent / target).resolve() if target else path
        assert place.exists(), target
        assert not anchor or anchor in headings(place), f"{target}#{anchor}"
    for name in re.findall(
        r"`((?:mdfeedd|config|bench|tests|systemd)/[\w./-]*)`", path.read_text()
    ):
        assert (REPOSITORY / name).exists(), name


def test_every_page_is_reached_from_the_readme() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    assert [p.name for p in PAGES[1:] if f"(mdfeedd/docs/{p.name})" not in readme] == []


@pytest.mark.parametrize(
    "path", [p for p in PAGES if p.stem != "plugins"], ids=lambda path: path.name
)  # whose plugins are installed by the tests that run them
def test_configurations_in_pages_are_valid(path, tmp_path, monkeypatch) -> None:
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    for number, text in enumerate(
        re.findall(r"^```yaml\n(.*?)^```$", path.read_text(), re.DOTALL | re.MULTILINE)
    ):
        problems = [p for p in _problems(_whole(text), tmp_path) if "config.xml" not in p]
        assert not problems, f"block {number}: {problems}"


def _whole(text: str) -> str:
    """A part of a file, with a market in each ring that it reads and does not make."""
    if re.search(r"^feeds:", text, re.MULTILINE):
        return text
    rings = {name for names in re.findall(r"rings: \[(.*?)\]", text) for name in names.split(", ")}
    return (
        text
        + "feeds:\n"
        + "".join(f"  - {{name: {r}, vendor: synthetic}}\n" for r in sorted(rings))
    )


def _problems(text: str, folder: Path) -> list[str]:
    file = folder / "mdfeedd.yaml"
    file.write_text(re.sub(r"^include:.*\n", "", text, flags=re.MULTILINE))
    try:
        config.load(file)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


def test_what_the_answers_compute_is_so() -> None:
    blocks = re.findall(
        r"^```python\n(.*?)^```$",
        (docs.FOLDER / "answers.md").read_text(),
        re.DOTALL | re.MULTILINE,
    )
    runner, parser = doctest.DocTestRunner(verbose=False), doctest.DocTestParser()
    for block in blocks:
        runner.run(parser.get_doctest(block, {}, "answers.md", "answers.md", 0))
    assert runner.summarize(verbose=False) == (0, 6)
