"""Secrets by reference: three forms of one option, and nothing else in its place."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from mdfeedd.daemon import config, references
from mdfeedd.daemon.problems import Mark, Problems, names_secret, redact
from mdfeedd.daemon.yaml12 import from_data
from mdfeedd.secret import Reference

HEAD = "feeds:\n  - name: d\n    vendor: databento\n    options:\n      dataset: GLBX.MDP3\n      subscriptions: [{schema: trades, symbols: [ESZ6]}]\n"  # fmt: skip


@dataclass(frozen=True)
class Login:
    user: str = "me"
    password_credential: str = ""
    password_file: str = ""
    password_env: str = ""
    token_credential: str = ""
    tls_key_file: str = ""


def options(*lines):
    plan = config.parse(HEAD + "".join(f"      {line}\n" for line in lines), "x.yaml")
    return {key: plan.feeds[0].options[key] for key in ("key_env", "key_file", "key_credential")}


def test_three_forms_and_none():
    default = {"key_env": "DATABENTO_API_KEY", "key_file": "", "key_credential": ""}
    assert options() == default
    assert options("key: {env: KEY}") == default | {"key_env": "KEY"}
    assert options("key: {file: /etc/key}") == default | {"key_file": "/etc/key"}
    assert options("key: {credential: db-key}") == default | {"key_credential": "db-key"}


def test_keys_of_their_own_go_on_to_work():
    assert options("key_file: /etc/key")["key_file"] == "/etc/key"
    assert options("key_env: A", "key_credential: b") == {
        "key_env": "A", "key_file": "", "key_credential": "b",
    }  # fmt: skip


def test_secrets_of_a_class_and_the_keys_that_are_shown():
    assert references.secrets_of(Login) == {
        "password": {
            "credential": "password_credential",
            "file": "password_file",
            "env": "password_env",
        },
        "token": {"credential": "token_credential"},
    }
    assert references.keys_of(Login) == ["user", "tls_key_file", "password", "token"]


def unfolded(**data):
    problems = Problems("x")
    made = references.unfold(from_data(data), Login, problems, "options")
    return made, [problem.sentence for problem in problems.found]


def test_source_that_the_option_does_not_have():
    made, told = unfolded(token={"file": "/x"})
    assert told == [
        "options.token: unknown key 'file' (known: credential): write {credential: NAME}"
    ]
    assert made.unusable == ["token_credential"]


def test_field_keeps_the_spelling_of_the_file():
    made, told = unfolded(password={"file": "/x"}, user="you")
    assert told == []
    assert made.node.plain() == {"user": "you", "password_file": "/x"}
    assert made.spelling == {"password_file": "password.file"}


@pytest.mark.parametrize("wrong", ["hunter2", 5, None, ["hunter2"], True])
def test_what_is_no_reference_is_refused(wrong):
    made, told = unfolded(password=wrong)
    (sentence,) = told
    assert sentence == (
        "options.password: a secret is not written here, only where it is: "
        "{credential: NAME}, {file: /PATH} or {env: NAME}"
    )
    assert "password" not in made.node.value


def test_options_are_shown_as_references():
    assert references.fold(Login, {"user": "a", "password_file": "/x", "password_env": "Y"}) == {
        "user": "a",
        "password": {"file": "/x"},
    }
    assert references.fold(Login, {"user": "a", "tls_key_file": "/k"}) == {
        "user": "a",
        "tls_key_file": "/k",
    }
    named = references.references_in(Login, {"password_env": "Y", "token_credential": "t"})
    assert dict(named) == {"password": Reference(env="Y"), "token": Reference("t")}


# ----------------------------------------------------------------------------------- nothing is shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("key: db-secret", "key: *********"),
        ("  password: 'a b' # why", "  password: ***** # why"),
        ("{user: x, password: hunter2, db: y}", "{user: x, password: *******, db: y}"),
        ('api_key: "x"', "api_key: ***"),
        ("access_token=abc&x", "access_token=*****"),
        ("dsn: postgres://me:hunter2@host/db", "dsn: postgres://me:*******@host/db"),
        ("dsn: host=x password=hunter2", "dsn: host=x password=*******"),
        ("key: {env: NAME}", "key: {env: NAME}"),
        ("key:", "key:"),
        ("key_file: /etc/key", "key_file: /etc/key"),
        ("monkey: bars", "monkey: bars"),
        ("keys: [a, b]", "keys: [a, b]"),
    ],
)  # fmt: skip
def test_line_is_shown_without_what_may_be_secret(line, shown):
    assert redact(line) == shown
    problems = Problems("x", [line])
    problems.add(Mark(1, 1), "no")
    assert problems.found[0].source == shown


def test_names_that_sound_secret():
    secret = (
        "password",
        "passwd",
        "db_password",
        "api_key",
        "apikey",
        "key",
        "client.secret",
        "token",
    )
    assert all(names_secret(name) for name in secret)
    assert not any(names_secret(name) for name in ("monkey", "keys", "key_file", "tokens", "user"))


@pytest.mark.parametrize(
    "line",
    [
        "key: hunter2",
        "key: {env: hunter-2}",
        "keys: hunter2",
        "kye: hunter2",
        "password: hunter2",
        "key: [hunter2]",
    ],
)
def test_no_problem_shows_a_secret_that_was_written_down(line):
    with pytest.raises(config.ConfigError) as caught:
        options(line)
    assert "hunter" not in str(caught.value)
