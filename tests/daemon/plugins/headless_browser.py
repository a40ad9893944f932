"""A headless Chromium, driven by its DevTools protocol: real layout, real script, real content policy."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from websockets.sync.client import connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
START_S = 60
MAX_MESSAGE_BYTES = 64 << 20


class Browser:
    """One tab. Everything that the page logs, and each exception in it, is in `logged`."""

    def __init__(self):
        program = next(filter(None, map(shutil.which, NAMES)), None)
        if program is None:
            pytest.skip("no chromium here")
        self.folder = tempfile.mkdtemp(prefix="mdfeedd-browser-")
        self.process = subprocess.Popen(
            [
                program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                "--no-first-run", "--disable-background-networking", "--remote-debugging-port=0",
                f"--user-data-dir={self.folder}", "about:blank",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        self._ids = itertools.count(1)
        self.logged = []
        self._open = contextlib.ExitStack()
        try:
            door = connect(self._address(), max_size=MAX_MESSAGE_BYTES)
            self._socket = self._open.enter_context(door)
            target = self.call("Target.getTargets")["targetInfos"]
            page = next(t["targetId"] for t in target if t["type"] == "page")
            attached = self.call("Target.attachToTarget", targetId=page, flatten=True)
            self._session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Log"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    _session = None

    def _address(self):
        file = Path(self.folder, "DevToolsActivePort")
        deadline = time.monotonic() + START_S
        while not (file.exists() and len(file.read_text().splitlines()) == 2):
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.skip(f"chromium does not start here (exit {self.process.poll()})")
            time.sleep(0.05)
        port, path = file.read_text().splitlines()
        return f"ws://127.0.0.1:{port}{path}"

    def call(self, method, **parameters):
        """The result of one command; events that come meanwhile are looked at for `logged`."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            if answer.get("method") in (
                "Runtime.exceptionThrown",
                "Log.entryAdded",
                "Runtime.consoleAPICalled",
            ):
                self.logged.append(json.dumps(answer["params"]))

    def open(self, url, *, width=1280, height=900, dark=False):
        mobile = width < 600
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=mobile,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=url)

    def value(self, script):
        """What a JavaScript expression gives, as JSON."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, script, seconds=60):
        """Wait until the expression is true."""
        deadline = time.monotonic() + seconds
        while not self.value(f"Boolean({script})"):
            assert time.monotonic() < deadline, (script, self.value("document.body.innerText"))
            time.sleep(0.05)

    def screenshot(self, path):
        """A PNG of the whole page."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        Path(path).write_bytes(base64.b64decode(found["data"]))

    def close(self):
        self._open.close()
        os.killpg(self.process.pid, signal.SIGKILL)  # its children write into the folder
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
