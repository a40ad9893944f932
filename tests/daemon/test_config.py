"""Bad configurations: every problem at once, each at its place, in words."""

from __future__ import annotations

import json

import pytest

from mdfeedd.daemon import config, plugins
from mdfeedd.daemon.config import ConfigError
from mdfeedd.daemon.plan import MAX_PLAN_BYTES, Assignment, CycleError, Plan, instance, revive
from mdfeedd.feeds.shard import Shard

P = "daemon_test_plugins"
FEED = f"feeds: [{{name: f, vendor: '{P}:TickingFeed'}}]\n"


def problems_of(text):
    with pytest.raises(ConfigError) as caught:
        config.parse(text, "x.yaml")
    return [(p.mark.line, p.mark.column, p.sentence) for p in caught.value.problems]


def with_feed(**keys):
    """A one-feed file whose keys stand one a line, so that a position tells the key."""
    lines = ["feeds:", "  - name: f", f"    vendor: {P}:TickingFeed"]
    return "\n".join([*lines, *(f"    {key}: {value}" for key, value in keys.items())]) + "\n"


def with_option(text):
    return with_feed() + f"    options: {{{text}}}\n"


def with_consumer(text):
    return FEED + f"consumers:\n  - {{{text}}}\n"


def counting(name="c", rings="[f]", options="out: o"):
    kind = f"'{P}:CountingConsumer'"
    return f"name: {name}, type: {kind}, rings: {rings}, options: {{{options}}}"


BAD = [
    # the file
    ("", 1, 1, "the key 'feeds' is missing (what to run)"),
    ("[]", 1, 1, "the file: must be a mapping of keys to values, found a list"),
    ("feeds: []", 1, 8, "feeds: there must be at least one feed"),
    ("feeds: 3", 1, 8, "feeds: must be a list, found 3"),
    ("feeds:", 1, 7, "feeds: must be a list, found nothing"),
    ("feeds: [7]", 1, 9, "feeds[0]: must be a mapping of keys to values, found 7"),
    (FEED + "consumer: []", 2, 1, "unknown key 'consumer' (did you mean 'consumers'?)"),
    (FEED + "zzz: 1", 2, 1, "unknown key 'zzz' (known: consumers, feeds, include, log, metrics, "),
    (FEED + "shm_dir: dev/shm", 2, 10, "shm_dir: must be an absolute path, found 'dev/shm'"),
    (FEED + "shm_dir: 5", 2, 10, "shm_dir: must be a string, found 5 (put it in quotes)"),
    # metrics and log
    (FEED + "metrics: 9464", 2, 10, "metrics: must be a mapping, found 9464"),
    (FEED + "log: debug", 2, 6, "log: must be a mapping of keys to values, found 'debug'"),
    (FEED + "metrics: {port: 65536}", 2, 17, "metrics.port: must be less than or equal to 65535"),
    (FEED + "metrics: {port: '1'}", 2, 17, "metrics.port: must be a whole number, found '1'"),
    (FEED + "metrics: {prot: 1}", 2, 11, "unknown key 'prot' (did you mean 'port'?)"),
    (
        FEED + "log: {level: INFO}",
        2,
        14,
        "log.level: must be 'debug', 'info', 'warning' or 'error'",
    ),
    (FEED + "log: {json: on}", 2, 13, "must be true or false, found 'on' (YAML 1.2 knows true"),
    # names
    (with_feed().replace("name: f", "name: a/b"), 2, 11, "must be 1 to 31 of A-Z a-z 0-9 . _ -"),
    (with_feed().replace("name: f", "name: " + "x" * 32), 2, 11, "must be 1 to 31 of"),
    (with_feed().replace("name: f", "name: x.bars"), 2, 11, "must not end in .bars"),
    (with_feed().replace("name: f", "name: x.readers"), 2, 11, "must not end in"),
    (with_feed().replace("name: f", "name: 010"), 2, 11, "must be a string, found 10 (put it in"),
    (with_feed().replace("name: f\n    ", ""), 2, 5, "the key 'name' is missing"),
    (FEED + with_consumer(counting(name="f")).partition("\n")[2], 3, 12, "the name 'f' is taken"),
    # rings
    (with_feed(capacity=1000), 4, 15, "must be a power of two, found 1000: take 512 or 1024"),
    (with_feed(capacity=128), 4, 15, "feeds[0].capacity: must be 256 to 268435456, found 128"),
    (with_feed(capacity="1e6"), 4, 15, "must be a whole number, found 1000000.0: write 1000000"),
    (with_feed(capacity="64k"), 4, 15, "must be a whole number, found '64k'"),
    (with_feed(capacity="true"), 4, 15, "must be a whole number, found true"),
    (with_feed(instruments_capacity=0), 4, 27, "must be greater than or equal to 1, found 0"),
    (with_feed(shard="5/4"), 4, 12, "feeds[0].shard: must be part 1 to 4 of 4, not 5"),
    (with_feed(shard="1/9999"), 4, 12, "shard: must be of 1 to 4096 parts, not of 9999"),
    (with_feed(shard="half"), 4, 12, "must be like 2/4, the second of four parts, not 'half'"),
    (with_feed(shard=2), 4, 12, "shard: must be a string, found 2"),
    # plugins
    (with_feed().replace(f"{P}:TickingFeed", "synthetik"), 3, 13, "(did you mean 'synthetic'?)"),
    (with_feed().replace("TickingFeed", "Nobody"), 3, 13, f"{P} has no class Nobody"),
    (with_feed().replace("TickingFeed", "NoOptions"), 3, 13, "has no dataclass Options"),
    (with_feed().replace(P, "no_such_module"), 3, 13, "there is no module no_such_module"),
    (with_feed().replace(P, "a b"), 3, 13, "is not of the form package.module:Class"),
    (with_feed().replace(f"{P}:TickingFeed", "[x]"), 3, 13, "must be a string, found a list"),
    # options
    (with_option("totl: 1"), 4, 15, "feeds[0].options: unknown key 'totl' (did you mean 'total'?)"),
    (with_option("total: many"), 4, 22, "options.total: must be a whole number, found 'many'"),
    (with_option("pause_s: x"), 4, 24, "options.pause_s: must be a number, found 'x'"),
    (with_option("pause_s: -1"), 4, 24, "options: pause_s: must not be negative, not -1.0"),
    (with_option("mode: slow, pause_s: 0"), 4, 14, "options: slow needs a pause"),
    (with_option("mode: medium"), 4, 21, "must be 'fast' or 'slow', found 'medium'"),
    (with_option("pair: [1]"), 4, 21, "options.pair: "),
    (with_option("symbols: [ESZ6, 010]"), 4, 31, "must be a string, found 10 (put it in quotes)"),
    (with_option("symbols: ESZ6"), 4, 24, "must be a list, found 'ESZ6'"),
    (with_option("speed: fast"), 4, 22, "options.speed: must be 'max' or must be a number, found"),
    (with_option("nested: {depth: x}"), 4, 31, "options.nested.depth: must be a whole number"),
    (with_option("nested: {}"), 4, 23, "options.nested: the key 'depth' is missing"),
    (with_option("nested: {depth: 1, lable: y}"), 4, 34, "(did you mean 'label'?)"),
    (with_option("many: [{depth: 1}, {depth: y}]"), 4, 42, "options.many[1].depth: must be"),
    (
        with_option("many: [deep]"),
        4,
        22,
        "many[0]: must be a mapping of keys to values such as {depth: deep}, found 'deep'",
    ),
    (with_feed(options="[1]"), 4, 14, "options: must be a mapping of keys to values, found a list"),
    # consumers
    (with_consumer(counting(rings="[ff]")), 3, 69, "there is no ring 'ff' (did you mean 'f'?)"),
    (with_consumer(counting(rings="[f, f]")), 3, 72, "the ring 'f' is named twice"),
    (with_consumer(counting(rings="[]")), 3, 68, "rings: "),
    (with_consumer(counting(rings="f")), 3, 68, "rings: must be a list, found 'f'"),
    (with_consumer(counting(options="")), 3, 82, "options: the key 'out' is missing"),
    (with_consumer(counting(options="out: o, ring: f")), 3, 97, "is written by the feed 'f'"),
    (with_consumer(counting(options="out: o, ring: 'a/b'")), 3, 97, "'a/b' cannot name a ring"),
    (with_consumer(counting(rings="[o]", options="out: x, ring: o")), 3, 68, "wait for each other"),
]


@pytest.mark.parametrize(("text", "line", "column", "words"), BAD)
def test_one_problem_at_its_place(text, line, column, words):
    found = problems_of(text)
    assert len(found) == 1, found
    assert found[0][:2] == (line, column)
    assert words in found[0][2]


def test_everything_that_is_wrong_is_told_at_once_and_in_file_order():
    text = """\
metrcs: {}
feeds:
  - name: a
    vendor: nobody
    capacity: 3
    capacity: 4
  - name: a
    vendor: daemon_test_plugins:TickingFeed
    options: {total: x, pause_s: y}
consumers:
  - {name: c, type: bats, rings: [b]}
"""
    found = problems_of(text)
    assert [line for line, _, _ in found] == [1, 4, 5, 6, 7, 9, 9, 11, 11]
    assert found == sorted(found, key=lambda p: p[:2])


def test_a_problem_is_shown_with_its_line_and_a_caret():
    with pytest.raises(ConfigError) as caught:
        config.parse(with_feed(capacity=1000), "x.yaml")
    assert str(caught.value) == (
        "x.yaml:4:15: error: feeds[0].capacity: must be a power of two, found 1000: take 512 or 1024\n"
        "        capacity: 1000\n"
        "                  ^\n"
        "    capacity: ticks that the ring holds, 64 bytes each (default: 65536)"
    )


def test_a_mistake_in_a_feed_does_not_make_its_ring_unknown():
    text = with_feed(capacity=1000) + f"consumers:\n  - {{{counting()}}}\n"
    assert len(problems_of(text)) == 1


def test_more_problems_than_anybody_reads():
    text = FEED + "".join(f"key{i}: 1\n" for i in range(300))
    found = problems_of(text)
    assert len(found) == 101
    assert found[-1][2] == "200 more problems are not shown"


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        config.load(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        config.load(tmp_path)


@pytest.fixture
def folder_sink(monkeypatch):
    monkeypatch.setitem(plugins.BUILTIN[plugins.SINKS], "folder", f"{P}:FolderSink")
    plugins.available.cache_clear()
    yield
    plugins.available.cache_clear()


def holder(options):
    kind = f"'{P}:SinkHolder'"
    return with_consumer(f"name: c, type: {kind}, rings: [f], options: {{{options}}}")


@pytest.mark.usefixtures("folder_sink")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            "sink: {path: x}",
            "options.sink: must be a mapping with a type (folder, kafka, parquet, ",
        ),
        (
            "sink: folder",
            "options.sink: must be a mapping with a type (folder, kafka, parquet, ",
        ),
        (
            "rows: 5",
            "options.sink: must be a mapping with a type (folder, kafka, parquet, ",
        ),
        (
            "sink: {type: foldr}",
            "options.sink.type: unknown sink type 'foldr' (did you mean 'folde",
        ),
        ("sink: {type: folder}", "options.sink: the key 'path' is missing"),
        ("sink: {type: folder, path: x, size: 0}", "options.sink: size: must be at least 1, not 0"),
        ("sink: {type: folder, path: x, sice: 1}", "unknown key 'sice' (did you mean 'size'?)"),
        (
            "sink: {type: folder, path: x}, sink_type: y",
            "unknown key 'sink_type' (did you mean 'si",
        ),
        ("sink: {type: folder, path: x}, rwos: 1", "unknown key 'rwos' (did you mean 'rows'?)"),
        ("sink: {type: folder, path: x}, rows: 13", "options: rows: 13 is not possible here"),
    ],
)
def test_a_sink_inside_a_consumer(options, words):
    found = problems_of(holder(options))
    assert len(found) == 1, found
    assert words in found[0][2]


@pytest.mark.usefixtures("folder_sink")
def test_a_bad_sink_does_not_hide_the_keys_beside_it():
    found = problems_of(holder("sink: {type: no}, rows: many, sice: 1"))
    assert len(found) == 3


@pytest.mark.usefixtures("folder_sink")
def test_a_sink_gets_its_defaults():
    plan = config.parse(holder("sink: {type: folder, path: x}"))
    assert plan.consumers[0].options == {
        "rows": 10,
        "sink_type": "folder",
        "sink_options": {"path": "x", "size": 5},
    }


def test_defaults_are_filled_in():
    plan = config.parse(FEED)
    feed = plan.feeds[0]
    assert (plan.shm_dir, plan.metrics.host, plan.metrics.port) == ("/dev/shm", "127.0.0.1", 9464)
    assert (feed.capacity, feed.instruments_capacity, feed.feed_index) == (65_536, 65_536, 1)
    assert feed.target == f"{P}:TickingFeed"
    assert feed.options["pair"] == [1, "a"]
    assert plan.log.level == "info"


def test_a_feed_is_told_its_shard():
    """A plan has text, which a class gets as a `Shard`; without the key all of the instruments are its own."""
    feed = config.parse(with_feed(shard="2/4")).feeds[0]
    assert feed.shard == "2/4"
    cls = plugins.load(feed.target)
    made = instance(cls, feed, revive(cls.Options, feed.options))
    assert made.ring.shard == Shard(2, 4)
    assert config.parse(with_feed(shard="02/04")).feeds[0] == feed
    assert config.parse(FEED).feeds[0].shard is None
    assert config.parse(with_feed(shard="null")).feeds[0].shard is None


def test_section_whose_keys_are_all_commented_out_has_its_defaults():
    text = FEED.replace("}]", ", options: }]") + "metrics:\n  # port: 1\nlog:\nshm_dir: /x\n"
    assert config.parse(text) == config.parse(FEED + "shm_dir: /x\n")


@pytest.mark.parametrize("text", ["metrics: null", "metrics: ~", "metrics: {port: null}"])
def test_metrics_can_be_switched_off(text):
    assert config.parse(FEED + text).metrics is None


def test_the_same_check_without_a_file():
    data = {"feeds": [{"name": "f", "vendor": f"{P}:TickingFeed"}], "metrics": None}
    assert config.check(data).feeds[0].name == "f"
    data["feeds"][0]["capacity"] = 3
    with pytest.raises(
        ConfigError, match=r"^<arguments>: error: feeds\[0\]\.capacity: must be 256"
    ):
        config.check(data)


def test_plan_survives_json():
    text = with_option("path: /tmp/x, nested: {depth: 3}, symbols: [ON, '1'], many: [{depth: 1}]")
    plan = config.parse(text + f"consumers:\n  - {{{counting()}}}\n")
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assignment = Assignment(plan.feeds[0], plan.log, 5, ("a", "b"))
    assert Assignment.from_json(assignment.to_json()) == assignment


def test_options_are_rebuilt_in_the_child_as_they_were_checked():
    cls = plugins.load(f"{P}:TickingFeed").Options
    text = with_option(
        "path: /tmp/x, nested: {depth: 3}, symbols: [ON], many: [{depth: 1}], pair: [2, b]"
    )
    options = json.loads(json.dumps(config.parse(text).feeds[0].options))
    rebuilt = revive(cls, options)
    module = plugins.load(f"{P}:TickingFeed")
    assert module.Options is cls
    assert str(rebuilt.path) == "/tmp/x"
    assert not isinstance(rebuilt.path, str)
    assert rebuilt.nested.depth == 3
    assert rebuilt.many[0].label == "x"
    assert rebuilt.symbols == ("ON",)
    assert rebuilt.pair == (2, "b")
    assert revive(cls, {}) == cls()
    assert revive(cls, {"listed": ["a"], "speed": 2.0}) == cls(listed=("a",), speed=2.0)
    assert revive(cls, {"listed": 5, "speed": "max"}) == cls(listed=5)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage",
        b"[]",
        b"null",
        b"{}",
        b'{"child": 5}',
        b'{"child": {"kind": "feed"}}',
        b'{"child": {"kind": "thing", "name": "n", "plugin": "p", "target": "t"}}',
        b'{"child": {"kind": "feed", "name": "n", "plugin": "p", "target": "t"}, "x": 1}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_garbage_is_no_plan(data):
    with pytest.raises(ValueError):
        Assignment.from_json(data)


def test_plan_that_is_too_long_is_not_read():
    with pytest.raises(ValueError, match=f"the plan has more than {MAX_PLAN_BYTES} bytes"):
        Assignment.from_json(b" " * (MAX_PLAN_BYTES + 1))


def test_consumers_start_after_the_writers_of_their_rings():
    last = counting("last", "[mid]", "out: a")
    mid = counting("mid-c", "[first]", "out: b, ring: mid")
    first = counting("first-c", "[f]", "out: c, ring: first")
    plan = config.parse(FEED + f"consumers: [{{{last}}}, {{{mid}}}, {{{first}}}]\n")
    assert [child.name for child in plan.order()] == ["f", "first-c", "mid-c", "last"]
    assert [child.name for child in plan.producers(plan.consumers[0])] == ["mid-c"]


def test_the_bar_ring_of_a_feed_is_a_ring():
    plan = config.parse(with_consumer(counting(rings="[f.bars, f]")))
    assert [child.name for child in plan.producers(plan.consumers[0])] == ["f"]


def test_a_cycle_of_two_is_told_once():
    a = counting("a", "[y]", "out: a, ring: x")
    b = counting("b", "[x]", "out: b, ring: y")
    found = problems_of(FEED + f"consumers: [{{{a}}}, {{{b}}}]\n")
    assert len(found) == 1
    assert "the consumers a and b wait for each other's rings" in found[0][2]
    without_feeds = Plan(consumers=config.parse(with_consumer(counting())).consumers)
    with pytest.raises(CycleError, match="no order to start c"):
        without_feeds.order()


def test_a_finite_run_does_not_follow():
    plan = config.parse(with_consumer(counting()))
    assert plan.consumers[0].options["follow"] is True
    assert plan.finite().consumers[0].options["follow"] is False
