import contextlib
import shutil
import tempfile
from pathlib import Path

import pytest

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1280,1000",
)


@pytest.fixture(scope="session")
def browser():
    """Chromium, with which a person would open the page; skipped where Debian's packages are absent."""
    for program, package in ((CHROMIUM, "chromium"), (DRIVER, "chromium-driver")):
        if not program.exists():
            pytest.skip(f"{program} is absent; install Debian's package {package}")
    from selenium import webdriver

    profile = tempfile.mkdtemp()
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": profile, "download.prompt_for_download": False})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    driver.downloads = Path(profile)
    with contextlib.ExitStack() as ending:
        ending.callback(shutil.rmtree, profile, ignore_errors=True)
        ending.callback(driver.quit)
        yield driver


@pytest.fixture
def colours(browser):
    """Sets what the reader's system prefers, "light" or "dark"; afterwards it prefers light again."""

    def prefer(scheme):
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})

    yield prefer
    prefer("light")


@pytest.fixture
def silent(browser):
    """The page wrote nothing to the console, neither errors nor warnings."""
    browser.get_log("browser")
    yield
    assert browser.get_log("browser") == []
