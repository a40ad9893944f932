"""A configuration of several files: in which order, what is refused, and in which file a mistake is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mdfeedd.daemon import config, including, yaml12
from mdfeedd.daemon.config import ConfigError

P = "daemon_test_plugins"


def feed(name):
    return f"feeds: [{{name: {name}, vendor: '{P}:TickingFeed'}}]\n"


def consumer(name, rings):
    kind = f"'{P}:CountingConsumer'"
    return f"consumers: [{{name: {name}, type: {kind}, rings: [{rings}], options: {{out: o}}}}]\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "conf.d").mkdir()
    return tmp_path


def write(folder, **files):
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".yaml")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder / "main.yaml"


def names(path):
    plan = config.load(path)
    return [child.name for child in (*plan.feeds, *plan.consumers)]


def problems_of(path):
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    return [
        (os.path.relpath(p.file, path.parent), p.mark.line, p.mark.column, p.sentence)
        for p in caught.value.problems
    ]


# ------------------------------------------------------------------------------------ what is read


@pytest.mark.parametrize(
    "include",
    ["conf.d/*.yaml", "conf.d", "[conf.d/a.yaml, conf.d/b.yaml]", "'{folder}/conf.d'", "conf.d/[ab].yaml"],
)  # fmt: skip
def test_feeds_and_consumers_are_appended_in_the_order_of_names(folder, include):
    write(folder, conf__b=feed("b"), conf__a=feed("a") + consumer("c", "m, a, b"))
    (folder / "conf").rename(folder / "conf.e")
    for path in (folder / "conf.e").iterdir():
        path.rename(folder / "conf.d" / path.name)
    main = write(folder, main=f"include: {include}\n".replace("{folder}", str(folder)) + feed("m"))
    assert names(main) == ["m", "a", "b", "c"]
    plan = config.load(main)
    assert [one.feed_index for one in plan.feeds] == [1, 2, 3]


def test_file_that_only_includes(folder):
    write(folder, part=feed("a") + "log: {level: debug}\nmetrics: null\n")
    plan = config.load(write(folder, main="include: part.yaml\n"))
    assert (plan.feeds[0].name, plan.log.level, plan.metrics) == ("a", "debug", None)


@pytest.mark.parametrize("include", ["conf.d", "conf.d/*.yaml", "", "[]", "none/*.yaml"])
def test_pattern_or_folder_without_a_file_is_no_mistake(folder, include):
    assert names(write(folder, main=f"include: {include}\n{feed('m')}")) == ["m"]


def test_part_of_comments_or_empty_lists_adds_nothing(folder):
    write(folder, a="# nothing\n", b="feeds:\n  # all commented out\n", c="feeds: []\nconsumers:\n")
    assert names(write(folder, main=f"include: [a.yaml, b.yaml, c.yaml]\n{feed('m')}")) == ["m"]


def test_empty_list_in_the_main_file_is_filled(folder):
    write(folder, a=feed("a"))
    assert names(write(folder, main="include: a.yaml\nfeeds:\n")) == ["a"]


def test_what_is_not_yaml_by_its_name_is_left_alone(folder):
    write(folder, a=feed("a"))
    (folder / "conf.d" / "a.yaml~").write_text("{")
    (folder / "conf.d" / ".hidden.yaml").write_text("{")
    (folder / "conf.d" / "b.yml").write_text(feed("b"))
    assert names(write(folder, main=f"include: conf.d\n{feed('m')}")) == ["m", "b"]


def test_parts_include_relative_to_themselves(folder):
    (folder / "conf.d" / "deep").mkdir()
    (folder / "conf.d" / "deep" / "x.yaml").write_text(feed("x"))
    (folder / "conf.d" / "a.yaml").write_text("include: deep/x.yaml\n" + feed("a"))
    assert names(write(folder, main=f"include: conf.d/*.yaml\n{feed('m')}")) == ["m", "a", "x"]


def test_path_that_is_relative_itself(folder, monkeypatch):
    monkeypatch.chdir(folder)
    write(folder, part=feed("a"))
    write(folder, main="include: part.yaml\n")
    assert [one.name for one in config.load("main.yaml").feeds] == ["a"]
    assert [one.name for one in config.load(Path("../") / folder.name / "main.yaml").feeds] == ["a"]


# ------------------------------------------------------------------------- what is told, and where


def test_mistakes_are_told_in_the_order_of_reading_with_their_files(folder):
    write(folder, a="zzz: 1\n" + feed("a"), b="\n\nfeeds:\n  - {name: b, vendor: nobody}\n")
    main = write(folder, main=f"include: [a.yaml, b.yaml]\n{feed('m')}shm_dir: 5\n")
    assert [found[:3] for found in problems_of(main)] == [
        ("main.yaml", 3, 10),
        ("a.yaml", 1, 1),
        ("b.yaml", 4, 23),
    ]
    with pytest.raises(ConfigError) as caught:
        config.load(main)
    first, *rest = str(caught.value.problems[1]).splitlines()
    assert first.startswith(
        f"{folder}/a.yaml:1:1: error: unknown key 'zzz' (known: consumers, feeds"
    )
    assert rest == ["    zzz: 1", "    ^"]


def test_items_are_counted_as_in_their_file(folder):
    write(folder, a=feed("a").replace("}]", ", capacity: 3}]"))
    (found,) = problems_of(write(folder, main=f"include: a.yaml\n{feed('m')}"))
    assert found[0] == "a.yaml"
    assert found[3].startswith("feeds[0].capacity: must be 256 to")


def test_name_that_two_files_use(folder):
    write(folder, a=feed("m"))
    (found,) = problems_of(write(folder, main=f"include: a.yaml\n{feed('m')}"))
    assert found == (
        "a.yaml",
        1,
        16,
        f"the name 'm' is taken by another child ({folder}/main.yaml:2)",
    )


def test_section_that_two_files_have(folder):
    write(folder, a="log: {level: debug}\n", b="metrics: null\n", c="metrics: null\n")
    main = write(folder, main=f"include: [a.yaml, b.yaml, c.yaml]\nlog: {{}}\n{feed('m')}")
    assert problems_of(main) == [
        ("a.yaml", 1, 1, f"the key 'log' is given twice, first in {folder}/main.yaml:2"),
        ("c.yaml", 1, 1, f"the key 'metrics' is given twice, first in {folder}/b.yaml:1"),
    ]


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("- 1\n", (1, 1), "a part must be a mapping of keys to values"),
        ("feeds: 3\n", (1, 8), "feeds: must be a list"),
        ("log:\nlog:\n", (2, 1), "duplicate key 'log'"),
        ("feeds: [\n", (2, 1), "while parsing a flow node"),
        ("log: \x07\n", (1, 6), "control character"),
    ],
)
def test_part_that_cannot_be_read_as_one(folder, text, place, words):
    write(folder, a=text)
    found = problems_of(write(folder, main=f"include: a.yaml\n{feed('m')}"))
    (found,) = (one for one in found if one[0] == "a.yaml")
    assert found[1:3] == place
    assert words in found[3]


@pytest.mark.parametrize(
    ("include", "column", "words"),
    [
        ("none.yaml", 10, "there is no file or folder {folder}/none.yaml"),
        ("none", 10, "there is no file or folder {folder}/none"),
        (
            "5",
            10,
            "include: must be a file, a folder or a pattern such as conf.d/*.yaml, or a list",
        ),
        ("[a.yaml, {b: c}]", 19, "include: must be a file, a folder or a pattern"),
        ("''", 10, "include: must be a file, a folder or a pattern"),
        ("[a.yaml, a.yaml]", 19, "a.yaml is included twice, first in {folder}/main.yaml:1"),
        ("[a.yaml, ./*.yaml]", 19, "a.yaml is included twice"),
        ("main.yaml", 10, "main.yaml includes itself"),
    ],
)
def test_include_that_names_nothing_usable(folder, include, column, words):
    write(folder, a=feed("a"))
    found = problems_of(write(folder, main=f"include: {include}\n{feed('m')}"))
    assert found[0][:3] == ("main.yaml", 1, column)
    assert words.replace("{folder}", str(folder)) in found[0][3]


def test_files_that_include_each_other(folder):
    write(folder, a="include: b.yaml\n" + feed("a"), b="include: a.yaml\n" + feed("b"))
    (found,) = problems_of(write(folder, main="include: a.yaml\n"))
    assert found == (
        "b.yaml", 1, 10, f"include: {folder}/a.yaml includes itself through other files"
    )  # fmt: skip


def test_too_many_in_a_row(folder, monkeypatch):
    monkeypatch.setattr(including, "MAX_DEPTH", 2)
    write(folder, a="include: b.yaml\n", b="include: c.yaml\n", c=feed("c"))
    found = problems_of(write(folder, main=f"include: a.yaml\n{feed('m')}"))
    assert found[0][:2] == ("b.yaml", 1)
    assert "would be file 3 in a row, at most 2 are read" in found[0][3]


def test_too_many_files(folder, monkeypatch):
    monkeypatch.setattr(including, "MAX_PARTS", 3)
    for number in range(20):
        (folder / "conf.d" / f"{number:02}.yaml").write_text(feed(f"f{number}"))
    found = problems_of(write(folder, main=f"include: conf.d\n{feed('m')}"))
    assert len(found) == 1
    assert (
        found[0][3] == f"include: {folder}/conf.d/03.yaml is one too many: at most 3 files are read"
    )


def test_too_many_bytes(folder, monkeypatch):
    monkeypatch.setattr(including, "MAX_TOTAL_BYTES", 1000)
    write(folder, a=feed("a") + "#" * 1000, b=feed("b"))
    (found,) = problems_of(write(folder, main="include: [a.yaml, b.yaml]\n"))
    assert "b.yaml is not read: there are more than 1000 bytes already" in found[3]


def test_part_that_is_too_large(folder, monkeypatch):
    monkeypatch.setattr(yaml12, "MAX_BYTES", 100)
    write(folder, a="#" * 200)
    (found,) = problems_of(write(folder, main=f"include: a.yaml\n{feed('m')}"))
    assert (found[0], found[3]) == ("a.yaml", "larger than 100 bytes")


def test_arguments_include_nothing():
    data = {"feeds": [{"name": "f", "vendor": f"{P}:TickingFeed"}], "include": "a.yaml"}
    with pytest.raises(ConfigError, match="include: is for files only"):
        config.check(data)
