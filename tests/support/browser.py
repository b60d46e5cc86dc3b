"""A real browser without a window, driven over the DevTools protocol (https://chromedevtools.github.io/devtools-protocol)."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome")
# What a key sends: its code and, where it types or submits something, the text.
KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " "), "Escape": (27, "")}


def binary() -> str | None:
    """The browser of this machine, if it has one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One tab of a browser with a profile of its own; a context that leaves nothing behind."""

    def __init__(
        self, width: int = 1280, height: int = 800, scale: float = 1.0, language: str = "en-US"
    ) -> None:
        self._size = (width, height, scale)
        self._language = language
        self._next = 0
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        import websocket

        self._profile = Path(tempfile.mkdtemp(prefix="browser-"))
        width, height, scale = self._size
        found = binary()
        assert found is not None
        options = [
            "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={self._profile}", "--no-first-run",
            f"--window-size={width},{height}", f"--lang={self._language}", "--hide-scrollbars", "--disable-gpu",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server",
            # The browser's own sandbox refuses to run as root; the only pages here are ours.
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
        ]  # fmt: skip
        self._process = subprocess.Popen(
            [found, *options, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        try:
            port = self._port()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30) as answer:
                targets = json.load(answer)
            address = next(t["webSocketDebuggerUrl"] for t in targets if t["type"] == "page")
            self._socket = websocket.create_connection(address, timeout=60, suppress_origin=True)
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.call(f"{domain}.enable")
            self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
                      mobile=False)  # fmt: skip
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "_socket"):
            self._socket.close()
        # Its helpers are in its own session, by whose number they all end.
        try:
            os.killpg(self._process.pid, 15)
            self._process.wait(10)
        except ProcessLookupError:
            pass
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, 9)
            self._process.wait(10)
        shutil.rmtree(self._profile, ignore_errors=True)

    def _port(self) -> int:
        file = self._profile / "DevToolsActivePort"
        until = time.monotonic() + 60
        while not file.exists() or not file.read_text().strip():
            assert self._process.poll() is None, "the browser ended"
            assert time.monotonic() < until, "the browser did not start"
            time.sleep(0.02)
        return int(file.read_text().split()[0])

    # -- the protocol

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command and its result; events that come meanwhile are kept."""
        self._next += 1
        self._socket.send(json.dumps({"id": self._next, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._next:
                assert "error" not in message, message
                return dict(message["result"])
            self.events.append(message)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page, from outside of its content policy."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    # -- what a person does

    def open(self, address: str) -> None:
        """Type an address."""
        self.call("Page.navigate", url=address)

    def until(self, expression: str, seconds: float = 60.0) -> Any:
        """Wait for an expression to be true in the page."""
        give_up = time.monotonic() + seconds
        while True:
            try:
                found = self.evaluate(f"document.readyState === 'complete' && !!({expression})")
            except AssertionError:
                found = None  # the page was changing under it
            if found:
                return found
            assert time.monotonic() < give_up, f"it did not come to {expression}: {self.text()[:500]}"
            time.sleep(0.03)

    def press(self, key: str) -> None:
        """Press and release a key."""
        code, text = KEYS[key] if key in KEYS else (ord(key.upper()), key)
        common = {
            "key": key,
            "windowsVirtualKeyCode": code,
            "code": key if len(key) > 1 else f"Key{key.upper()}",
        }
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def write(self, text: str) -> None:
        """Type into what has the focus."""
        self.call("Input.insertText", text=text)

    def tab_to(self, expression: str, most: int = 120) -> None:
        """Press Tab until the element in focus (``e``) is the one."""
        for _ in range(most):
            self.press("Tab")
            if self.evaluate(f"((e) => {expression})(document.activeElement)"):
                return
        raise AssertionError(f"Tab does not come to {expression}")

    def text(self) -> str:
        """What the page says."""
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def problems(self) -> list[str]:
        """What the browser had against the pages so far: refused by the content policy, failed, or thrown."""
        self.evaluate("1")
        found = []
        for event in self.events:
            params = event.get("params", {})
            if event.get("method") == "Log.entryAdded":
                found.append(str(params["entry"]["text"]))
            elif event.get("method") == "Runtime.exceptionThrown":
                found.append(str(params["exceptionDetails"]["text"]))
        return found

    def requested(self) -> list[str]:
        """Every address that was asked for."""
        self.evaluate("1")
        return [
            str(event["params"]["request"]["url"])
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]

    def picture(self, *, whole: bool = False) -> bytes:
        """The page as PNG: what the window shows, or all of it."""
        options: dict[str, Any] = {"format": "png", "captureBeyondViewport": whole}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            options["clip"] = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        return base64.b64decode(self.call("Page.captureScreenshot", **options)["data"])
