"""A proxy in front of a PostgreSQL server that cuts a connection just where a test says."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time


class CuttingProxy:
    """Listens on 127.0.0.1:port, passes on to a server's socket in `folder`.

    `cut` says when: None; "before", the next commit does not reach the server; "after", it does, and its answer does
    not come back. Counts in `cuts`. `bytes_per_s`: as much as passes from the client to the server; 0: all.
    """

    def __init__(self, server_folder, server_port):
        self._target = f"{server_folder}/.s.PGSQL.{server_port}"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cut = None
        self.cuts = 0
        self.bytes_per_s = 0
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._closed = True
        self._listener.close()

    def _accept(self):
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        server = socket.socket(socket.AF_UNIX)
        with client, server, contextlib.suppress(OSError):
            server.connect(self._target)
            self._start(client, server)
            pending = b""
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    data = ready.recv(1 << 16)
                    if not data:
                        return
                    if ready is server:
                        client.sendall(data)
                        continue
                    if self.bytes_per_s:
                        time.sleep(len(data) / self.bytes_per_s)
                    pending += data
                    pending, complete = self._split(pending)
                    for message in complete:
                        if not self._pass_on(message, server):
                            return

    def _start(self, client, server):
        """The start-up message has no type byte; encryption is refused, so that we can read."""
        while True:
            length = client.recv(4, socket.MSG_WAITALL)
            body = client.recv(struct.unpack("!i", length)[0] - 4, socket.MSG_WAITALL)
            if struct.unpack("!i", body[:4])[0] in (80877103, 80877104):
                client.sendall(b"N")
                continue
            server.sendall(length + body)
            return

    @staticmethod
    def _split(data):
        complete = []
        while len(data) >= 5:
            size = 1 + struct.unpack("!i", data[1:5])[0]
            if len(data) < size:
                break
            complete.append(data[:size])
            data = data[size:]
        return data, complete

    def _pass_on(self, message, server):
        """False: cut."""
        is_commit = message[:1] in b"QP" and b"commit" in message
        if not (is_commit and self.cut):
            server.sendall(message)
            return True
        when, self.cut = self.cut, None
        self.cuts += 1
        if when == "after":
            server.sendall(message)
            select.select([server], [], [])  # it has answered, so it is done
        return False
