"""``python -m mdfeedd.docs``: what is as it should be is left alone, and what cannot be written is a sentence."""

from __future__ import annotations

from mdfeedd.docs import __main__ as command


def test_only_what_differs_is_written(tmp_path, monkeypatch, capsys):
    same, old, new = (tmp_path / name for name in ("same.md", "old.md", "new.md"))
    same.write_text("same")
    old.write_text("old")
    before = same.stat().st_mtime_ns
    made = [(same, "same"), (old, "as it is now"), (new, "new")]
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    monkeypatch.setattr(command, "REPOSITORY", tmp_path)
    monkeypatch.setattr(command, "pages", lambda: iter(made))
    assert command.main() == 0
    assert capsys.readouterr().out == "old.md: written\nnew.md: written\n"
    assert [path.read_text() for path, _ in made] == [text for _, text in made]
    assert same.stat().st_mtime_ns == before
    assert command.main() == 0
    assert not capsys.readouterr().out


def test_no_results_are_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results")
    assert command.main() == 1
    assert capsys.readouterr().err.endswith("is not there: pages are written in a checkout\n")


def test_nothing_is_written_where_a_figure_is_unknown(tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"

    def fail():
        yield page, "text"
        raise ValueError("other.md: no figure ring.x")

    monkeypatch.setattr(command, "RESULTS", tmp_path)
    monkeypatch.setattr(command, "pages", fail)
    assert command.main() == 1
    assert capsys.readouterr().err == "mdfeedd.docs: other.md: no figure ring.x\n"
    assert not page.exists()
