"""Databento: records of its binary encoding (DBN) into ticks, from files and from the live gateway.

    DBN bytes, cut anywhere ─► codec.DbnDecoder ─► ticks (into a ring without the GIL, or as an array)
                                    │               bars  (a second output)
                                    └─► events: definitions, mappings, messages ─► instruments table

    gateway ─► session.LiveSession, session.Pump ─► the same decoder ─► ring      feed.DatabentoFeed, a process
                    └─ session.Recovery: what a disconnect cost, told and asked for again

The codec is sans-IO, and so is the session but for its connection: recordings (`mdfeedd.feeds.replay`), live
sessions, the simulator and the fuzzer give them the same bytes. `options` are the configuration's keys, `resume`
is the file beside the ring in which the feed remembers how far it has come.
"""
