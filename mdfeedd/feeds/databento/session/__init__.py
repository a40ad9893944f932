"""A live session with Databento's gateway, and what keeps the ring whole over its ends.

::

    Handshake (lsg)      greeting, CRAM challenge, authentication, subscriptions: text lines, sans-IO
    LiveSession (live)   handshake, then the stream: metadata, messages, deadlines; sans-IO
    Pump (_pump.pyx)     socket -> decoder -> ring without the GIL, stops at messages and before what is held
    Recovery             what was missed: GAP, replay or snapshot, RECOVERED
    Ending, Backoff      why a session ended, and when to come back
    connect, Key, Recording, SessionNames

`mdfeedd.feeds.databento.feed` runs them in a process. Positions in the streams are kept by the codec, in a file
beside the ring (dbn_resume.h), so that also the process after a kill publishes nothing twice.

Ways to fail: `SessionEnd`, whose `Ending` says what follows: another session after a pause, or the end of the
process with the exit status for its cause.
"""
