"""The API key: where it may come from, what is said when it does not, and that nothing shows it."""

from __future__ import annotations

import copy
import hashlib
import logging
import os
import pickle
import traceback

import pytest

from mdfeedd.feeds.databento.session.ending import Ending, SessionEnd
from mdfeedd.feeds.databento.session.key import KEY_CHARACTERS, MAX_FILE_BYTES, Key, read_key

SECRET = "db-0123456789abcdefghijklmnopqrs"
ENV = "MDFEEDD_TEST_KEY"


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in (ENV, "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


def is_secret(key):
    digest = hashlib.sha256(f"abc|{SECRET}".encode()).hexdigest()
    return key.answer("abc") == f"{digest}-{SECRET[-5:]}"


def refused(words, env=ENV, file="", credential=""):
    with pytest.raises(SessionEnd, match=words) as caught:
        read_key(env, str(file), credential)
    assert caught.value.ending is Ending.KEY
    assert caught.value.ending.then.status == 77
    told = "".join(traceback.format_exception(caught.value))
    assert SECRET not in told
    assert SECRET[:20] not in told
    return str(caught.value)


def test_from_the_environment(monkeypatch):
    monkeypatch.setenv(ENV, SECRET)
    assert is_secret(read_key(ENV, "", ""))
    monkeypatch.setenv(ENV, f"  {SECRET}\n")
    assert is_secret(read_key(ENV, "", ""))


def test_file_goes_before_the_environment_and_a_credential_before_both(monkeypatch, tmp_path):
    other = "x" * KEY_CHARACTERS
    (tmp_path / "key").write_text(SECRET + "\n")
    monkeypatch.setenv(ENV, other)
    assert is_secret(read_key(ENV, str(tmp_path / "key"), ""))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "other").write_text(other)
    assert is_secret(read_key(ENV, str(tmp_path / "other"), "key"))


def test_there_is_none(monkeypatch):
    told = refused("there is no API key: set the environment variable MDFEEDD_TEST_KEY, or say")
    monkeypatch.setenv(ENV, " \n")
    assert refused("there is no API key") == told


def test_file_that_cannot_be_read(tmp_path):
    refused(f"{tmp_path}/none: No such file or directory", file=tmp_path / "none")
    refused("Is a directory", file=tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_file_of_somebody_else(tmp_path):
    (tmp_path / "key").write_text(SECRET)
    (tmp_path / "key").chmod(0)
    refused("Permission denied", file=tmp_path / "key")


def test_credential_that_was_not_passed(monkeypatch, tmp_path):
    refused("credential db was not passed: LoadCredential= in the unit", credential="db")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    refused("read from the credential db: No such file", credential="db")


@pytest.mark.parametrize(
    "text",
    [
        SECRET[:-1],
        SECRET + "x",
        SECRET[:-1] + "\x01",
        SECRET[:-1] + "\n" + SECRET[-1] + "\n",
        SECRET[:-1] + "é",
        SECRET[:16] + "\x00" + SECRET[17:],
        f"DATABENTO_API_KEY={SECRET}",
    ],
)
def test_what_is_no_key_is_told_without_showing_it(tmp_path, monkeypatch, text):
    path = tmp_path / "key"
    path.write_text(text)
    told = refused(
        f"what {path} holds is no API key: a key has 32 characters, this has ", file=path
    )
    assert text.strip() not in told
    if "\x00" not in text:
        monkeypatch.setenv(ENV, text)
        refused("what the environment variable MDFEEDD_TEST_KEY holds is no API key")


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff" * 10, b"k" * (2 * MAX_FILE_BYTES)])
def test_file_that_holds_something_else(tmp_path, content):
    (tmp_path / "key").write_bytes(content)
    refused("is no API key", file=tmp_path / "key")


def test_another_gateway_has_keys_of_its_own(monkeypatch):
    monkeypatch.setenv(ENV, "your-key")
    digest = hashlib.sha256(b"abc|your-key").hexdigest()
    assert read_key(ENV, "", "", foreign=True).answer("abc") == f"{digest}-r-key"
    refused("a key has 32 characters, this has 8")
    monkeypatch.setenv(ENV, "your")
    with pytest.raises(SessionEnd, match="a key has 5 or more characters, this has 4"):
        read_key(ENV, "", "", foreign=True)


def test_endless_file_is_read_in_part_only():
    refused("is no API key: it has more than 4096 bytes", file="/dev/zero")


def test_key_is_shown_by_nothing(caplog):
    key = Key(SECRET, "test")
    shown = [repr(key), str(key), f"{key}", ascii(key), f"{[key]} { ({'k': key}) }"]
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("test").warning("key %s %r", key, key)
    shown.append(caplog.text)
    assert not hasattr(key, "__dict__")
    assert all("db-0" not in text and SECRET[-5:] not in text for text in shown)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_key_is_not_pickled(protocol):
    with pytest.raises(TypeError, match="a key is not copied to anywhere"):
        pickle.dumps(Key(SECRET, "test"), protocol)


@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy])
def test_key_is_not_copied(copier):
    with pytest.raises(TypeError, match="a key is not copied to anywhere"):
        copier(Key(SECRET, "test"))


def test_answer_depends_on_challenge_and_key():
    key, other = Key(SECRET, "test"), Key("x" + SECRET[1:], "test")
    assert key.answer("a") != key.answer("b")
    assert key.answer("a") != other.answer("a")
    assert key.answer("a") == key.answer("a")
    assert SECRET not in key.answer("a")
