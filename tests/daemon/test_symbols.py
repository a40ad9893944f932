"""The section ``symbols``: checked with the rest, written out again, and read alone by those who read rings."""

from __future__ import annotations

import pytest

from mdfeedd import load_symbols
from mdfeedd.daemon import config
from mdfeedd.daemon.plan import Plan
from mdfeedd.daemon.showing import as_written, to_yaml

FEEDS = "feeds: [{name: cme, vendor: synthetic}, {name: blp, vendor: synthetic}]\n"
MAP = {"ESZ6": {"cme": "ESZ6", "blp": "ESZ6 Index"}, "NQZ6": {"cme": "NQZ6"}}
TEXT = FEEDS + "symbols:\n  ESZ6: {cme: ESZ6, blp: ESZ6 Index}\n  NQZ6: {cme: NQZ6}\n"


def problems(text):
    with pytest.raises(config.ConfigError) as caught:
        config.parse(text, "x.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_it_is_part_of_the_plan_and_comes_back_as_it_was():
    plan = config.parse(TEXT)
    assert plan.symbols == MAP
    assert Plan.from_json(plan.to_json()) == plan
    assert config.parse(to_yaml(as_written(plan))) == plan
    assert config.parse(FEEDS).symbols == {}


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ("{ESZ6: {cem: ESZ6}}", "x.yaml:2:18: error: symbols.ESZ6: there is no feed 'cem' (did you mean 'cme'?)"),
        ("{ESZ6: {cme: A}, NQZ6: {cme: A}}", "x.yaml:2:39: error: symbols.NQZ6.cme: 'A' of the feed 'cme' is 'ESZ6' already"),
        ("{ESZ6: {cme: 6}}", "x.yaml:2:23: error: symbols: must be a string, found 6"),
        ("{ESZ6: ESZ6}", "x.yaml:2:17: error: symbols: must be a mapping, found 'ESZ6'"),
        ("{ESZ6: {}}", "x.yaml:2:17: error: symbols: must have at least 1 item, found a mapping"),
        ("{ESZ6: {cme: ''}}", "x.yaml:2:23: error: symbols: must have at least 1 character, found ''"),
        ("[ESZ6]", "x.yaml:2:10: error: symbols: must be a mapping, found a list"),
    ],
)  # fmt: skip
def test_mistakes_are_told_where_they_are(section, sentence):
    (found,) = problems(f"{FEEDS}symbols: {section}")
    assert found.startswith(sentence)


def test_it_is_read_alone_without_the_packages_of_feeds_and_sinks(tmp_path):
    part = tmp_path / "feeds.yaml"
    part.write_text("feeds: [{name: cme, vendor: nobody.has:This}, {name: blp, vendor: neither}]\n")
    main = tmp_path / "mdfeedd.yaml"
    main.write_text("include: feeds.yaml\nsymbols: {ESZ6: {cme: ESZ6, blp: ESZ6 Index}, NQZ6: {cme: NQZ6}}\n")  # fmt: skip
    assert load_symbols(main) == load_symbols(str(main)) == MAP
    main.write_text("include: feeds.yaml\nsymbols: {ESZ6: {xme: ESZ6}}\n")
    with pytest.raises(config.ConfigError, match="there is no feed 'xme'"):
        load_symbols(main)


def test_file_without_it_and_no_file_at_all(tmp_path):
    main = tmp_path / "mdfeedd.yaml"
    main.write_text(FEEDS)
    assert load_symbols(main) == {}
    with pytest.raises(config.ConfigError, match="cannot be read"):
        load_symbols(tmp_path / "nowhere.yaml")


def test_it_stands_in_one_of_the_files_only(tmp_path):
    (tmp_path / "part.yaml").write_text("symbols: {A: {cme: A}}\n")
    main = tmp_path / "mdfeedd.yaml"
    main.write_text(f"include: part.yaml\n{TEXT}")
    with pytest.raises(config.ConfigError, match="the key 'symbols' is given twice"):
        config.load(main)


def test_reader_takes_it_from_the_file(shm_dir, tmp_path):
    from mdfeedd import Reader, Writer

    main = tmp_path / "mdfeedd.yaml"
    main.write_text(TEXT)
    with (
        Writer("cme", feed_index=1, directory=shm_dir) as cme,
        Writer("blp", feed_index=2, directory=shm_dir) as blp,
        Reader(["cme", "blp"], symbols=main, directory=shm_dir) as reader,
    ):
        cme.instruments.add("ESZ6")
        blp.instruments.add("ESZ6 Index")
        assert [book.symbol for book in reader.last["ESZ6"].sources] == ["ESZ6", "ESZ6 Index"]
