"""Messages of //blp/mktdata into ticks. Sans-IO: dictionaries as the SDK's ``toPy`` makes them, times in.

::

    (cid, recap type, fragment type, dictionary, ts_recv) ─► Decoder ─► Staging: QUOTE, TRADE, GAP, RECOVERED ...
                                                               └─► events: an image came, data were lost ...

A message holds what changed: an absent field is as it was, a field that is null is cleared. `Touch` keeps both
sides of an instrument, and a QUOTE tells all of it. Nothing in here needs Bloomberg's package.

Ways to fail: `ValueUnreadable` for a field that holds what it cannot hold; the message has then changed nothing.
"""

from mdfeedd.feeds.bloomberg.codec.decode import Decoder, Delayed, Event, Image, Lost
from mdfeedd.feeds.bloomberg.codec.fixed import ValueUnreadable
from mdfeedd.feeds.bloomberg.codec.staging import Staging
from mdfeedd.feeds.bloomberg.codec.touch import Touch

__all__ = [
    "Decoder",
    "Delayed",
    "Event",
    "Image",
    "Lost",
    "Staging",
    "Touch",
    "ValueUnreadable",
]
