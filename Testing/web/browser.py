"""A headless Chromium on the app's page, for people who read tests: what a user sees and does."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

PATIENCE = 60.0
"""Seconds; a slow machine is not a mistake."""
NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--window-size=1400,900", "--force-device-scale-factor=1", "--disable-background-networking",
    "--no-first-run",
)  # fmt: skip


def chromium() -> tuple[str, str] | None:
    """Return the paths of a Chromium and of its driver; None where one is missing."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    return (found, driver) if found and driver else None


class Browser:
    """The page of an app.

    Parameters
    ----------
    address : str
    downloads : Path
        Where the browser puts files.
    """

    def __init__(self, address: str, downloads: Path) -> None:
        paths = chromium()
        assert paths is not None
        options = webdriver.ChromeOptions()
        options.binary_location = paths[0]
        for option in OPTIONS:
            options.add_argument(option)
        options.add_experimental_option(
            "prefs", {"download.default_directory": str(downloads), "download.prompt": False}
        )
        logging = {"browser": "ALL", "performance": "ALL"}
        options.set_capability("goog:loggingPrefs", logging)
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(paths[1]))
        self.downloads = downloads
        self.driver.get(address)
        self.until(lambda: self.driver.find_elements(By.CSS_SELECTOR, ".view-name"))
        self.idle()

    def close(self) -> None:
        self.driver.quit()

    # What it shows

    def get(self, name: str) -> Any:
        """Return a value of the page's state."""
        return self.driver.execute_script("return trame.state.get(arguments[0])", name)

    def text(self, identity: str) -> str:
        return str(self.driver.find_element(By.ID, identity).text)

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until something is so."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with suppress(WebDriverException):
                if found := condition():
                    return found
            time.sleep(0.05)
        raise AssertionError(f"not so in {PATIENCE:.0f} s; the page says: {self.said()}")

    def said(self) -> str:
        """Return the sentence in the corner."""
        return str(self.get("message") if self.get("message_open") else "")

    def idle(self) -> None:
        """Wait until a scan is there and nothing is under way."""
        self.until(lambda: self.get("scan_name") and not self.get("busy"))

    def requests(self) -> list[str]:
        """Return the addresses that the page has fetched since the last call."""
        events = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        return [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]

    # What a user does

    def press(self, identity: str) -> None:
        """Press a button and wait until what it does is done."""
        before = self.get("revision")
        self.tap(identity)
        self.until(lambda: self.get("revision") > before and not self.get("busy"))

    def tap(self, identity: str) -> None:
        self.until(lambda: self.driver.find_element(By.ID, identity).is_enabled())
        self.driver.find_element(By.ID, identity).click()

    def tool(self, name: str) -> None:
        self.tap(f"tool-{name}")
        self.until(lambda: self.get("tool") == name)
        time.sleep(0.3)  # until the server has it too, and the tooltip is gone

    def open(self, path: Path) -> None:
        """Open a file of this computer by its path."""
        before = self.get("revision")
        self.driver.execute_script(
            "trame.state.set('path', arguments[0]); trame.state.set('ask_path', true)", str(path)
        )
        self.until(lambda: self.driver.find_element(By.ID, "path-open").is_displayed())
        self.tap("path-open")
        self.until(lambda: self.get("revision") > before and not self.get("busy"))
        self.until(lambda: not self.driver.find_elements(By.CSS_SELECTOR, ".v-overlay__scrim"))

    def upload(self, path: Path) -> None:
        """Give the page a file."""
        before = self.get("revision")
        script = "HTMLInputElement.prototype.click = () => {}; trame.utils.spineseg.choose()"
        self.driver.execute_script(script)
        self.driver.find_element(By.ID, "spineseg-file").send_keys(str(path))
        self.until(lambda: self.get("revision") > before and not self.get("busy"))

    def view(self, name: str) -> Any:
        """Return a view, by its name in the corner."""
        title = f"//div[contains(@class, 'view-name')][normalize-space(.)='{name}']"
        parts = f"{title}/ancestor::div[contains(@class, 'layout-grid-item')]"
        return self.driver.find_element(By.XPATH, parts)

    def draw(self, name: str, start: tuple[int, int], way: tuple[int, int]) -> None:
        """Draw a line in a view: its start from the view's middle, and its way, in pixels."""
        before = self.get("revision")
        steps = 6
        hand = ActionChains(self.driver, duration=20)
        hand.move_to_element_with_offset(self.view(name), *start).click_and_hold()
        for _ in range(steps):
            hand.move_by_offset(way[0] // steps, way[1] // steps)
        hand.release().perform()
        self.until(lambda: self.get("revision") > before)

    def click_in(self, name: str, at: tuple[int, int]) -> None:
        """Click in a view, in pixels from its middle, and wait for what comes of it."""
        before = self.get("revision")
        hand = ActionChains(self.driver).move_to_element_with_offset(self.view(name), *at)
        hand.click().perform()
        self.until(lambda: self.get("revision") > before and not self.get("busy"))

    def export(self) -> Path:
        """Export everything and return the archive that the browser has fetched."""
        for old in self.downloads.iterdir():
            old.unlink()
        self.press("export")
        done = self.until(lambda: list(self.downloads.glob("*.zip")))
        return Path(done[0])
