"""A page opens in a browser without a word in its console, asks for nothing, and plays its clips."""

import dataclasses
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from emojax.report import page, run_page
from support.made_run import captions, clips, write_run
from support.media_files import SECONDS, write_av

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no browser: apt-get install chromium, and nothing else is needed"),
]
_SAID = re.compile(r"CONSOLE|Refused|Failed to load|net_error|net::ERR")
HEADLESS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--enable-logging=stderr",
    "--v=0",
    "--virtual-time-budget=9000",
)


def opened(path: Path, *flags: str) -> tuple[str, list[str]]:
    """The document when it has been loaded, and what the browser said of it."""
    assert BROWSER is not None
    words = [BROWSER, *HEADLESS, f"--user-data-dir={path.parent / 'profile'}", *flags, "--dump-dom", path.as_uri()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, [line for line in done.stderr.splitlines() if _SAID.search(line)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    write_av(folder / "film.mkv", video="mpeg4", audio="flac")
    known = [
        dataclasses.replace(c, audio=folder / "film.mkv", video=folder / "film.mkv", seconds=SECONDS) for c in clips(12)
    ]
    return write_run(folder / "run", known, {"sft": captions(known, 0.5, 1), "grpo": captions(known, 0.8, 2)})


def test_a_page_opens_offline_and_says_nothing(run: Path) -> None:
    dom, said = opened(run_page.write(run), "--host-resolver-rules=MAP * ~NOTFOUND")
    assert said == []
    assert dom.count("<svg") > 10
    assert dom.count("<video") == 12


def test_a_script_that_gets_in_is_stopped(tmp_path: Path) -> None:
    """By the policy in the head, were something ever not escaped; and this browser is heard."""
    hostile = page.Html("<p id=x>as it was</p><script>document.getElementById('x').textContent='changed'</script>")
    path = tmp_path / "page.html"
    path.write_text(page.whole("a page", hostile))
    dom, said = opened(path)
    assert "as it was" in dom
    assert any("Content Security Policy" in line for line in said)


def test_a_clip_is_played(run: Path) -> None:
    """The same media in a page that may run a script, which says what the browser made of them."""
    text = run_page.write(run).read_text("utf-8")
    sources = re.findall(r'<video[^>]* src="([^"]*)"', text)
    script = """<script>const told=[];const all=[...document.querySelectorAll('video')];
all.forEach(v=>v.addEventListener('loadeddata',()=>{told.push([v.duration,v.videoWidth,v.videoHeight]);
document.title=JSON.stringify(told)}));all.forEach(v=>v.addEventListener('error',()=>{document.title='broken'}))</script>"""
    path = run.parent / "played.html"
    path.write_text("".join(f'<video preload="auto" src="{source}"></video>' for source in sources[:2]) + script)
    dom, _ = opened(path, "--autoplay-policy=no-user-gesture-required")
    title = re.search(r"<title>(.*?)</title>", dom)
    assert title, dom[:500]
    told = json.loads(title[1])
    assert len(told) == 2
    assert all(abs(seconds - SECONDS) < 0.2 and (width, height) == (128, 128) for seconds, width, height in told)
