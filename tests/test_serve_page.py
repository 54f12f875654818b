"""The page of a served captioner in a real browser: what a visitor does is done, and the console stays silent."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")

from support.served import LIMITS, make_sounds, post, running  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")]
LISTEN = """
const ask = window.fetch;
window.fetch = async (...how) => {
  const answer = await ask(...how);
  if (how[0].startsWith("/caption")) {
    window.told = await answer.clone().json();
    document.body.dataset.told = 1 + Number(document.body.dataset.told || 0);
  }
  return answer;
};
"""
FAKE = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--no-sandbox"]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with running(LIMITS) as found:
        yield found


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_sounds(tmp_path_factory.mktemp("sounds"))


@pytest.fixture
def page(port: int) -> Iterator[Any]:
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FAKE)
        page = browser.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.add_init_script(LISTEN)
        page.goto(f"http://127.0.0.1:{port}/")
        sync_api.expect(page.locator("#model")).not_to_be_empty()
        yield page
        browser.close()
    assert [text for text in said if "Failed to load resource" not in text] == []  # so it calls a refusal


def answered(page: Any, act: Any) -> dict[str, Any]:
    """The record that the page has got, once it is shown."""
    before = int(page.get_attribute("body", "data-told") or 0)
    act()
    sync_api.expect(page.locator(f"body[data-told='{before + 1}']")).to_be_attached(timeout=60_000)
    sync_api.expect(page.locator("#ask")).to_be_enabled()
    return page.evaluate("window.told")


def test_a_file_is_captioned_and_streams_and_words_are_switched(page: Any, port: int, sounds: dict[str, Path]) -> None:
    record = answered(page, lambda: page.set_input_files("#file", sounds["long"]))
    assert page.inner_text("#caption").strip() == record["caption"].strip()
    assert len(record["samples"]) == page.locator("#drawn li").count() == 2
    assert page.locator("#waveform rect").count() == len(record["shown"]["waveform"])
    assert page.locator("#spectrogram").is_visible()
    assert "none" in page.inner_text("#seen")
    page.uncheck("#audio")
    page.fill("#transcript", "go away")
    deaf = answered(page, lambda: page.click("#ask"))
    assert deaf["caption"] == post(port, transcript="go away")[1]["caption"]
    assert page.inner_text("#heard") == "Sound: none is heard"
    assert page.locator("#spectrogram").is_hidden()


def test_a_recording_is_captioned(page: Any) -> None:
    page.click("#microphone")
    page.wait_for_timeout(1500)
    record = answered(page, lambda: page.click("#microphone"))
    assert record["heard"]
    page.click("#camera")
    page.wait_for_timeout(1500)
    record = answered(page, lambda: page.click("#camera"))
    assert (record["heard"], record["seen"]) == (True, False), "this captioner has no eyes"


def test_a_file_that_is_refused_is_told(page: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    told = answered(page, lambda: page.set_input_files("#file", tmp_path / "broken.wav"))
    assert page.inner_text("#state") == told["error"]
    assert page.get_attribute("#state", "class") == "wrong"
    assert page.inner_text("#state").startswith("the file ")
