"""The daemon: one YAML file in, one process per feed and consumer out, numbers read from shared memory.

    mdfeedd.yaml ─► yaml12 (marks) ─► including ─► config (all errors at once) ─► Plan, frozen, of JSON values
    conf.d/*.yaml ──────────────────────►│          │ sections, schema: keys, units, secrets by reference
                                        ┌───────────┘ plugins: name ─► "module:Class"
                                        ▼
    Supervisor ── spawns, restarts, stops ──► worker feed NAME      ─► ring   (its only writer)
        │                                └──► worker consumer NAME  ◄─ ring, ─► files, rings, callbacks
        │  the plan of one child goes through an inherited pipe, nothing of it is in `ps`
        │  Vigil: signs of life in shared memory, once a second; who hangs is ended; then Notifier ──► systemd
        ▼
    metrics ◄── shared memory only: headers, counters pages, consumer registries; restarts from the supervisor
        catalogue (every name once) ─► exposition ─► /metrics;  status ─► /status, /readyz, `top`, `status`
        status ─► troubles, in sentences;  board (last prices, bars) ─► page ─► / and /last
        http_server (connections, time) ─► http_message (bytes) ─► admission (names, token) ─► all of these

Who may write what: nobody here writes shared memory, except the feed or consumer inside a worker.

Limits (each a named constant beside its use): size, depth and nodes of the YAML file; feeds and consumers;
time until a ring is up, without a sign of life, restarts and their back-off, crashes in a window, time to drain and to stop; HTTP
connections, the length of a request and its time; distinct log messages remembered.

Ways to fail: `ConfigError` (a list of problems with positions, exit 78), `StartError` (a port in use, no
shared-memory folder), a child that ends: see `supervisor` for what becomes of it.

This package imports nothing: a worker must not pay for pydantic, YAML or the exporter.
"""
