"""Where secrets are read from, and that no sentence shows one."""

from __future__ import annotations

import pytest

from mdfeedd.secret import MAX_SECRET_BYTES, Reference, Secret, SecretError, read

WORD = b"correct horse"


def refused(reference: Reference, limit_bytes: int = MAX_SECRET_BYTES) -> str:
    with pytest.raises(SecretError) as caught:
        read(reference, "password", limit_bytes)
    assert WORD.decode() not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_credential_goes_before_file_and_file_before_variable(tmp_path, monkeypatch):
    (tmp_path / "name").write_bytes(b"credential\n")
    (tmp_path / "file").write_bytes(b"file\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("NAME", "variable")
    file = str(tmp_path / "file")
    assert read(Reference("name", file, "NAME"), "password") == b"credential\n"
    assert read(Reference("", file, "NAME"), "password") == b"file\n"
    assert read(Reference("", "", "NAME"), "password") == b"variable"


def test_file_of_the_folder_that_the_unit_passes_needs_no_prefix(tmp_path, monkeypatch):
    """`LoadCredential=mdfeedd:FOLDER` makes mdfeedd_key of its file key."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "mdfeedd_key").write_bytes(b"of the folder")
    assert read(Reference(credential="key"), "key") == b"of the folder"
    assert read(Reference(credential="mdfeedd_key"), "key") == b"of the folder"
    (tmp_path / "key").write_bytes(b"of its own line")
    assert read(Reference(credential="key"), "key") == b"of its own line"


def test_reference_to_nothing_is_false():
    assert not Reference()
    assert all((Reference("a"), Reference(file="/a"), Reference(env="A")))


def test_what_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.delenv("NAME", raising=False)
    assert refused(Reference("db")) == (
        "the credential db was not passed: LoadCredential= in the unit is what passes it"
    )
    assert refused(Reference(env="NAME")) == (
        "there is no password: the environment variable NAME is not set"
    )
    none = tmp_path / "none"
    assert refused(Reference(file=str(none))) == (
        f"the password cannot be read from {none}: No such file or directory"
    )
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert refused(Reference("db")) == (
        "the password cannot be read from the credential db: No such file or directory"
    )


def test_too_long_and_empty_are_no_secrets(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(WORD)
    assert "has more than 5 bytes" in refused(Reference(file=str(file)), 5)
    assert "has more than 4096 bytes" in refused(Reference(file="/dev/zero"))
    file.write_bytes(b"\r\n\n")
    assert "it is empty" in refused(Reference(file=str(file)))


def test_secret_prints_nothing():
    secret = Secret("correct horse")
    assert "horse" not in f"{secret} {secret!r}"
    assert secret.reveal() == "correct horse"
