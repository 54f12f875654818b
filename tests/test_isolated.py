"""A file that crashes its decoder or keeps it is an error that names it, wherever it is met; all others are read."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emojax.config import Data
from emojax.data import isolated
from emojax.data.batches import Batching, training_batches
from emojax.data.bulk import bulk_batches
from emojax.data.clips import Clip
from emojax.data.container import MediaError
from emojax.data.encoding import encoding_batches
from emojax.data.inputs import clips_of
from emojax.data.isolated import call
from emojax.data.text import train_tokenizer
from support import dying

DATA = Data(audio_seconds=(0.5, 1.0), frames=1, frame_size=8, transcript_tokens=4, workers=0)
TOKENIZER = train_tokenizer(["a calm low voice"], 300)


def test_what_is_returned_comes_back_and_a_process_is_kept_for_the_next(tmp_path: Path) -> None:
    first = call(dying.process, tmp_path)
    assert first not in (os.getpid(), None)
    assert call(dying.process, tmp_path) == first


def test_a_file_that_crashes_the_decoder_twice_is_named_and_the_next_is_read(tmp_path: Path) -> None:
    path = tmp_path / "bad.wav"
    with pytest.raises(MediaError, match=r"bad\.wav: ends the process that decodes it \(signal 11"):
        call(dying.crash, path)
    assert path.read_text().count("crash") == 2
    assert call(dying.process, tmp_path)
    assert call(dying.crash_once, tmp_path / "once.wav") == "read", "something else may have killed it"
    with pytest.raises(MediaError, match="exit code 3"):
        call(dying.refuse, path)


def test_a_file_that_keeps_the_decoder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "LIMIT", ContextVar("seconds", default=0.3))
    began = time.monotonic()
    with pytest.raises(MediaError, match=r"slow\.wav: is not read after"):
        call(dying.hang, tmp_path / "slow.wav")
    assert time.monotonic() - began < 30
    assert call(dying.process, tmp_path)


def test_any_exception_is_the_files_error(tmp_path: Path) -> None:
    before = call(dying.process, tmp_path)
    with pytest.raises(
        MediaError, match=r"a\.mp4: cannot be read \(AttributeError: 'NoneType' object has no"
    ) as raised:
        call(dying.fail, tmp_path / "a.mp4")
    assert raised.value.path == tmp_path / "a.mp4"
    assert call(dying.process, tmp_path) == before


def test_what_a_library_says_comes_with_the_files_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        isolated, "LIMIT", ContextVar("seconds", default=20.0)
    )  # one that waits for its words to be read does not end
    with caplog.at_level(logging.WARNING):
        assert call(dying.grumble, tmp_path / "a.mp3") == "read"
        assert call(dying.process, tmp_path / "b.mp3")
    (message,) = caplog.messages
    assert message.startswith(f"{tmp_path / 'a.mp3'}: Warning: Xing stream size off; ")
    assert "lines more" in message


def test_threads_have_a_process_each(tmp_path: Path) -> None:
    barrier = threading.Barrier(3)

    def together(_: int) -> int:
        barrier.wait()
        return call(dying.process, tmp_path)

    with ThreadPoolExecutor(3) as pool:
        assert os.getpid() not in set(pool.map(together, range(3)))


def test_a_process_does_not_hear_what_tells_the_run_to_stop(tmp_path: Path) -> None:
    there = call(dying.process, tmp_path)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(there, number)
    assert call(dying.process, tmp_path) == there


def test_a_process_ends_with_its_parent_even_in_the_middle_of_a_file(tmp_path: Path) -> None:
    script = (
        "import os, sys, threading, time, pathlib; from emojax.data import isolated; from support import dying\n"
        "p = pathlib.Path('x'); print(isolated.call(dying.process, p), flush=True)\n"
        "threading.Thread(target=isolated.call, args=(dying.hang, p), daemon=True).start(); time.sleep(60)"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=env, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.2)
        parent.kill()
    deadline = time.monotonic() + 30
    while (there := alive(child)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not there


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Clip]]:
    """Five sounds, of which one crashes libsndfile."""
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    (shadow / "soundfile.py").write_text(
        "import importlib.machinery, importlib.util, os, signal, sys\n"
        "path = [p for p in sys.path if p != os.path.dirname(__file__)]\n"
        "spec = importlib.machinery.PathFinder.find_spec('soundfile', path)\n"
        "real = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(real)\n"
        "globals().update(vars(real))\n"
        "def SoundFile(file):\n"
        "    if b'crash' in file:\n"
        "        os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    return real.SoundFile(file)\n"
    )
    isolated._end_all()
    monkeypatch.syspath_prepend(shadow)
    clips = []
    for i in range(5):
        path = tmp_path / (f"crash{i}.wav" if i == 2 else f"{i}.wav")
        soundfile.write(path, 0.1 * (i + 1) * np.sin(np.arange(6400) / 9), 16_000)
        clips.append(Clip(f"c{i}", audio=path, captions=("calm",)))
    yield clips
    isolated._end_all()


def wanted(clips: list[Clip]) -> list[str]:
    return [c.id for c in clips if c.id != "c2"]


def test_captioning_goes_on_in_order(corpus: list[Clip]) -> None:
    data = Data(**vars(DATA) | {"workers": 1})
    made = list(bulk_batches(corpus, TOKENIZER, data, caption_tokens=4, batch=2))
    assert [clip.id for clips, *_ in made for clip in clips] == wanted(corpus)
    errors = [error for *_, errors in made for error in errors]
    assert [(e.id, e.path.name) for e in errors] == [("c2", "crash2.wav")]
    assert all("signal 11" in e.why for e in errors)


def test_training_takes_the_next_clip_instead(corpus: list[Clip], caplog: pytest.LogCaptureFixture) -> None:
    batches = training_batches(corpus, TOKENIZER, DATA, Batching(3, 0, 4))
    seen = {int(name) for batch in islice(batches, 6) for name in batch.clip_id}
    batches.close()
    assert seen == {zlib.crc32(name.encode()) for name in wanted(corpus)}
    assert [m.split(":")[0] for m in caplog.messages] == ["left out c2"]


def test_encoding_records_it(corpus: list[Clip]) -> None:
    works = list(encoding_batches(corpus, DATA, 3, 3))
    assert sorted(name for work in works for name in work.broken) == ["c2"]
    assert [clip.id for work in works for clip, *_ in work.clips] == wanted(corpus)


def test_files_named_on_the_command_line_are_looked_at_there_too(tmp_path: Path) -> None:
    names = ["x" * 300 + ".wav", "bad\udcff.wav", "nul\0.wav", "id3.mp3", "pipe.wav", "list.m3u8"]
    (tmp_path / "id3.mp3").write_bytes(b"ID3")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nid3.mp3\n")
    os.mkfifo(tmp_path / "pipe.wav")
    clips = clips_of([tmp_path / name for name in names])
    ((_, made, errors),) = bulk_batches(clips, TOKENIZER, DATA, caption_tokens=4, batch=16)
    assert made is None
    assert [(e.id, e.path.name) for e in errors] == [(str(tmp_path / name), name) for name in names]
    assert "not a file" in errors[4].why
    assert "not a media file of a format that is read" in errors[5].why
