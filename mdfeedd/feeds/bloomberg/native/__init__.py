"""The fast half of the Bloomberg codec, in C: the same ticks as the decoder in Python, without its price.

::

    dictionaries of toPy ───────► quick.QuickPlane ─► _codec.Kernel ─┐
                                                                     ├─► blp_decode.h ─► Staging ─► ring
    the SDK's event, by its C ABI ─► _plane.NativePlane (no GIL) ────┘        │
                                                                              └─ not ordinary: codec.Decoder

Both take what is ordinary and leave the rest, message by message, to the decoder in Python. Touches and staging
are C structures with the attributes of their models in `codec`, so all of them work on one state in one order.

Nothing that the SDK's library returns is trusted: every pointer, code, type and length is checked, and what is
strange is left to the SDK's own package. Limits: messages in an event, digits of a trade's number, table entries.

Ways to fail: none of its own; without the library, or a symbol of it, there is the Python path.
"""
