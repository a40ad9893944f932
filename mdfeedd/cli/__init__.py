"""The command line: one file per command, `main` in front of them.

    argv ─► main ─► demo    plan in code ─► Supervisor ─► live table, summary     (demo, demo_plan, demo_view,
                    live    vendors      ─► Supervisor ─► lines                    (live_view)
                    replay  files        ─► Supervisor ─► progress, summary        demo_venue, demo_gateway,
                                                                                    demo_terminal, probe, stored)
                    run     YAML         ─► Supervisor ─► logs, /metrics
                    check   YAML         ─► problems or ok               (check_blpapi, blpapi_trial: an SDK)
                    config  YAML         ─► as it would run; the JSON Schema
                    status  daemon's HTTP, else /dev/shm ─► a few lines, exit status   (attached)
                    top     the same, again and again    ─► a live table               (attached, top_view, top_draw)
                    tail    ring         ─► lines or JSON lines
                    doctor  /dev/shm     ─► who writes, who reads, what is wrong
                            /proc, /sys  ─► facts ─► what the machine lacks       (doctor_facts, doctor_host)
                    install-service      ─► systemd's files in place
                    decode  captures     ─► messages, field by field
                    record  network      ─► a capture file
                    sim     seed         ─► UDP or TCP of a vendor that does not exist
                    completion, man      ─► a script of the shell, a page of roff  (tree: the parsers as data;
                                                                                    completion_bash, _zsh, _fish)

A command is a module with `add(subparsers)` and `run(arguments) -> int`; what is slow to import is imported in
`run`. Nothing here touches the data path: rings are read as any consumer reads them.

Exit: 0 done; 1 trouble (one sentence, or a list of it); 2 usage; 65 damaged journals; 77 credentials; 78 configuration;
130 Ctrl-C; 3 `status`: no daemon runs; 129 and 143 a replay, demo or live cut short by SIGHUP, SIGTERM. A closed pipe (``mdfeedd tail X | head``) is no error.
"""

from __future__ import annotations

import os

from mdfeedd.daemon import blas

blas.hold_to_one_thread(os.environ)  # before numpy comes with the commands
try:
    from mdfeedd.cli.main import main
except KeyboardInterrupt:  # Ctrl-C while the commands are imported
    raise SystemExit(130) from None

__all__ = ["main"]
