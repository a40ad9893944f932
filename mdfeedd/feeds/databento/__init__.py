"""Databento: records of its binary encoding (DBN) into ticks.

    DBN bytes, cut anywhere ─► codec.DbnDecoder ─► ticks (into a ring without the GIL, or as an array)
                                    │               bars  (a second output)
                                    └─► events: definitions, mappings, messages ─► instruments table

The decoder is sans-IO: recordings (`mdfeedd.feeds.replay`) and live sessions feed it the same bytes.
"""
