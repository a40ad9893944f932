"""Every order of memory in the protocol of `mdfeedd.h`, in the header's order: what it is for, and one gone.

A header with another order in it is not what this list says, until it is said here what that one is for.
"""

from __future__ import annotations

import re
from typing import NamedTuple

BEGIN, END = "- writer protocol */", "- life of a segment: common part */"
SITE = re.compile(
    r"mdf_(?:load|store)(?:32)?_(?:acquire|release)\((?:[^()]|\([^()]*\))*\)"
    r"|mdf_fence_(?:acquire|release|full)\(\)"
)
FUNCTION = re.compile(r"^static inline[^\n(]*?(mdf_\w+)\(", re.MULTILINE)
LOCK = "whoever takes over has the lock that the dead writer had: the kernel orders them"
VERSION = "the fence before its store releases the odd version with it, and the version the entry"
HINT = "a hint: an old value costs one more look, and what is read then is ordered by itself"


class Order(NamedTuple):
    """One acquire, release or fence; `needed` by a case, or else `why` it is there."""

    function: str
    text: str
    needed: str = ""
    why: str = ""


ORDERS: list[Order] = [
    Order("mdf_reserve_to", "mdf_fence_release()", "one"),
    Order("mdf_write_slot", "mdf_store_release(d, seq)", "one"),
    Order("mdf_publish", "mdf_store_release(&w->h->tail, s)", "batch_tail"),
    Order("mdf_publish_batch", "mdf_store_release(&w->h->tail, s0 + m - 1)", "publish_batch"),
    Order("mdf_wake_all", "mdf_store32_release(&w->h->wake_gen, ++w->wake_gen)", "wake_again"),
    Order("mdf_flush", "mdf_fence_full()", "wake"),
    Order("mdf_instrument_carry_out", "mdf_load_acquire(&h->intent)", why=LOCK),
    Order("mdf_instrument_carry_out", "mdf_fence_release()", "instruments"),
    Order("mdf_instrument_carry_out", "mdf_store32_release(&e->version, version + 1)", "instruments"),
    Order("mdf_instrument_carry_out", "mdf_store_release(&h->instruments_count, count + 1)", why=VERSION),
    Order("mdf_instrument_carry_out", "mdf_store_release(&h->instruments_version, mdf_load(&h->instruments_version) + 1)", why=HINT),
    Order("mdf_instrument_carry_out", "mdf_store_release(&h->intent, 0)", why=LOCK),
    Order("mdf_recover", "mdf_load_acquire(&h->tail)", why=LOCK),
    Order("mdf_recover", "mdf_load_acquire(mdf_slot(w->slots, t + 1, w->mask, w->words))", why=LOCK),
    Order("mdf_recover", "mdf_load_acquire(&h->reserve)", why=LOCK),
    Order("mdf_recover", "mdf_fence_release()", "killed"),
    Order("mdf_recover", "mdf_store_release(&h->tail, t)", why="the fence before it releases the same"),
    Order("mdf_recover", "mdf_load_acquire(&h->intent)", why=LOCK),
    Order("mdf_recover", "mdf_store_release(&h->epoch, mdf_load(&h->epoch) + 1)", why=HINT),
    Order("mdf_read_one", "mdf_load_acquire(d)", "one"),
    Order("mdf_read_one", "mdf_fence_acquire()", "one"),
    Order("mdf_read_one", "mdf_load_acquire(&r->h->tail)", why=HINT),
    Order("mdf_available", "mdf_load_acquire(&r->h->tail)", "batch_tail"),
    Order("mdf_ahead", "mdf_load_acquire(mdf_slot(slots, s + n, r->mask, r->words))", "batch"),
    Order("mdf_read_found", "mdf_load_acquire(&r->h->tail)", "batch"),
    Order("mdf_read_found", "mdf_load_acquire(d)", "batch"),
    Order("mdf_read_found", "mdf_fence_acquire()", "batch"),
    Order("mdf_prepare_wait", "mdf_load32_acquire(&r->h->wake_gen)", "wake_again"),
    Order("mdf_prepare_wait", "mdf_fence_full()", "wake"),
    Order("mdf_acknowledge_state", "mdf_load_acquire(&r->h->epoch)", why=HINT),
    Order("mdf_acknowledge_state", "mdf_load32_acquire(&r->h->state)", "closed"),
    Order("mdf_copy_instrument", "mdf_load_acquire(&h->instruments_count)", why=VERSION),
    Order("mdf_copy_instrument", "mdf_load32_acquire(&e->version)", "instruments"),
    Order("mdf_copy_instrument", "mdf_fence_acquire()", "instruments"),
]  # fmt: skip


def sites(header: str) -> list[re.Match[str]]:
    return list(SITE.finditer(header, header.index(BEGIN), header.index(END)))


def weakened(header: str, site: re.Match[str]) -> str:
    """The header with that order gone."""
    text = site.group()
    new = "((void)0)" if "fence" in text else re.sub(r"_(?:acquire|release)\(", "(", text, count=1)
    return header[: site.start()] + new + header[site.end() :]
