"""How options classes refuse what they are given: every mistake at once.

    values ──► Options(...) ──► __post_init__ ──► refuse(checks) ──► OptionsError: "key: reason", each

An options class is a frozen dataclass. Its checks are generators of sentences, and `refuse` runs them all. The
configuration makes an instance even where some values could not be used: those fields are then not set, a
check that reads one ends there, and what the others find is told beside it. Owns no data; imports nothing of ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["OptionsError", "closest", "mistakes_of", "nearest", "refuse", "told", "values"]


class OptionsError(ValueError):
    """Options that cannot be used. `mistakes` are all of them, each "key: reason"."""

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes: tuple[str, ...] = tuple(mistakes)
        super().__init__("; ".join(self.mistakes))


def refuse(*checks: Iterable[str]) -> None:
    """Run the checks, and raise `OptionsError` if they found anything.

    A check that reads a field which is not set ends there; `AttributeError` is raised if no other found more.
    """
    found: list[str] = []
    unset: AttributeError | None = None
    for check in checks:
        try:
            found.extend(check)
        except AttributeError as error:
            unset = error
    if found:
        raise OptionsError(dict.fromkeys(found))
    if unset is not None:
        raise unset


def told(check: Callable[[], object]) -> Iterator[str]:
    """What a function has to say that raises `ValueError`."""
    try:
        check()
    except ValueError as error:
        yield from mistakes_of(error)


def mistakes_of(error: Exception) -> tuple[str, ...]:
    """Each mistake that an options class has told."""
    return error.mistakes if isinstance(error, OptionsError) else (str(error),)


def values(options: Any, keys: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Keys and values of the options, without those that are not set."""
    for key in keys:
        assert key in options.__dataclass_fields__, key
        if hasattr(options, key):
            yield key, getattr(options, key)


def nearest(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)``, or nothing where no known name is like it."""
    close = closest(name, known)
    return f" (did you mean '{close}'?)" if close else ""


def closest(name: str, known: Iterable[str]) -> str:
    """The known name that is most like it; empty where none is."""
    import difflib  # noqa: PLC0415 - slow to import, and only mistakes need it

    folded = {candidate.lower(): candidate for candidate in sorted(known)}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else ""
