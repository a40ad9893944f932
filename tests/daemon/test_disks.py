"""The room that is left where feeds and consumers write: the file system's own numbers."""

from __future__ import annotations

import os

from mdfeedd.daemon.disks import folders, room
from mdfeedd.daemon.plan import ChildPlan, Plan


def child(name, plugin, kind="consumer", **options):
    return ChildPlan(kind=kind, name=name, plugin=plugin, target="m:C", options=options)


def test_folders_are_those_that_the_configuration_names():
    plan = Plan(
        feeds=(
            child("db", "databento", "feed", record="/data/sessions"),
            child("quiet", "databento", "feed", record=""),
            child("cme", "cme", "feed", path="/not/written"),
        ),
        consumers=(
            child("journal", "journal", path="/data/journal"),
            child("store", "batch", sink_type="parquet", sink_options={"path": "ticks"}),
            child("cache", "batch", sink_type="redis", sink_options={"path": "x"}),
            child("bars", "bars", path="x"),
        ),
    )
    assert [(one.name, path) for one, path in folders(plan)] == [
        ("db", "/data/sessions"),
        ("journal", "/data/journal"),
        ("store", "ticks"),
    ]


def test_room_is_that_of_the_file_system(tmp_path):
    found, real = room(str(tmp_path)), os.statvfs(tmp_path)
    assert found.size_bytes == real.f_blocks * real.f_frsize
    assert 0 <= found.free_bytes <= found.size_bytes


def test_a_folder_that_is_not_there_yet_is_on_the_file_system_above_it(tmp_path):
    assert room(str(tmp_path / "a" / "b")).size_bytes == room(str(tmp_path)).size_bytes


def test_what_nobody_can_say_is_left_out(tmp_path):
    (tmp_path / "file").write_text("")
    assert room(str(tmp_path / "file" / "folder")) is None
