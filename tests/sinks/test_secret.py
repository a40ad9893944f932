"""Where a password comes from, and that it is not shown."""

from __future__ import annotations

import copy
import pickle

import pytest

from mdfeedd.sinks import SinkError
from mdfeedd.sinks.secret import MAX_SECRET_BYTES, read_secret


def test_none_is_given():
    assert read_secret() is None


def test_first_of_credential_file_and_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("WORD", "from the variable")
    file = tmp_path / "file"
    file.write_text("from the file\n")
    (tmp_path / "credential").write_bytes("from the credential €\r\n".encode())
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_secret("WORD").reveal() == "from the variable"
    assert read_secret("WORD", str(file)).reveal() == "from the file"
    assert read_secret("WORD", str(file), "credential").reveal() == "from the credential €"


def test_blanks_of_a_password_are_its_own(tmp_path):
    file = tmp_path / "file"
    file.write_text("  two words \n")
    assert read_secret(file=str(file)).reveal() == "  two words "


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read from .*: No such file"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff\xfehidden", "is not UTF-8"),
        (b"hidden" * MAX_SECRET_BYTES, f"more than {MAX_SECRET_BYTES} bytes"),
    ],
)
def test_file_that_holds_no_password(tmp_path, content, sentence):
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SinkError, match=sentence) as told:
        read_secret(file=str(file))
    assert told.value.retriable
    assert "hidden" not in str(told.value)


def test_variable_or_credential_that_was_not_passed(monkeypatch):
    monkeypatch.delenv("WORD", raising=False)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(SinkError, match="variable WORD is not set"):
        read_secret("WORD")
    with pytest.raises(SinkError, match="credential store was not passed: LoadCredential="):
        read_secret(credential="store")


def test_secret_is_not_shown_or_copied(monkeypatch):
    monkeypatch.setenv("WORD", "hidden")
    secret = read_secret("WORD")
    assert "hidden" not in repr(secret) + str(secret)
    for copying in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not copied"):
            copying(secret)
