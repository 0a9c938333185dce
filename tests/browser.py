"""A headless browser for tests: Chromium through chromedriver's own protocol, without any package; the network off."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
MISSING = "no browser is here: chromium and chromedriver are needed" if not (CHROMIUM and DRIVER) else ""
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the W3C's name for a reference to an element


class Browser:
    """One page at a time, in a window of a chosen size, light or dark."""

    def __init__(self, port: int) -> None:
        self._root = f"http://127.0.0.1:{port}"
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
        wanted = {"browserName": "chrome", "goog:loggingPrefs": {"browser": "ALL"},
                  "goog:chromeOptions": {"binary": CHROMIUM, "args": arguments}}
        made = self._post("/session", {"capabilities": {"alwaysMatch": wanted}})
        self._root += f"/session/{made['sessionId']}"

    def _ask(self, path: str, data: bytes | None, method: str) -> Any:
        asked = urllib.request.Request(self._root + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(asked, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as problem:
            raise RuntimeError(json.load(problem)["value"]["message"].splitlines()[0]) from None

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return self._ask(path, json.dumps(body).encode(), "POST")

    def devtools(self, command: str, **parameters: Any) -> Any:
        """A command of the browser's own protocol."""
        return self._post("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def open(self, page: Path, width: int, dark: bool = False) -> None:
        """A file, with no network, as on a screen of that many CSS pixels."""
        self.devtools("Network.enable")
        self.devtools("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0,
                      uploadThroughput=0)
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=844, mobile=width < 600,
                      deviceScaleFactor=1)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", media="", features=[scheme])
        self._post("/url", {"url": page.as_uri()})

    def run(self, script: str, *arguments: Any) -> Any:
        """What a piece of JavaScript returns."""
        return self._post("/execute/sync", {"script": script, "args": list(arguments)})

    def find(self, selector: str) -> Any:
        """The first element that a CSS selector names. Raises RuntimeError where there is none."""
        return self._post("/element", {"using": "css selector", "value": selector})

    def click(self, selector: str) -> None:
        self.run("arguments[0].scrollIntoView({block: 'center'})", self.find(selector))
        self._post(f"/element/{self.find(selector)[ELEMENT]}/click", {})

    def move(self, *steps: dict[str, Any]) -> None:
        """Steps of a mouse: {"type": "pointerMove", "x", "y", "origin"}, pointerDown, pointerUp."""
        given = [{"duration": 20, **s} if s["type"] == "pointerMove" else {"button": 0, **s} for s in steps]
        mouse = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": given}
        self._post("/actions", {"actions": [mouse]})

    def errors(self) -> list[str]:
        """What the console has complained of."""
        return [e["message"] for e in self._post("/se/log", {"type": "browser"}) if e["level"] == "SEVERE"]

    def picture(self, path: Path, whole: bool = True) -> None:
        """The page as PNG."""
        shown = self.devtools("Page.captureScreenshot", captureBeyondViewport=whole, **self._clip(whole))
        path.write_bytes(base64.b64decode(shown["data"]))

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self.devtools("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def pdf(self, path: Path) -> None:
        """The page as it would be printed on A4."""
        printed = self.devtools("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, printBackground=False)
        path.write_bytes(base64.b64decode(printed["data"]))

    def close(self) -> None:
        with suppress(OSError, RuntimeError):
            self._ask("", None, "DELETE")


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser that is closed at the end, with its driver. Raises RuntimeError where it does not start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert DRIVER is not None
    driver = subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found: Browser | None = None
    try:
        found = _started(port)
        yield found
    finally:
        if found is not None:
            found.close()
        driver.terminate()
        driver.wait(20)


def _started(port: int) -> Browser:
    for _ in range(100):
        try:
            return Browser(port)
        except urllib.error.URLError:
            time.sleep(0.1)
    raise RuntimeError("chromedriver does not answer")
