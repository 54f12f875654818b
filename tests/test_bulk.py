"""Captioning at length: every clip once, in buckets that fill as clips come, of which few are decoded at a time."""

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emojax.config import Data
from emojax.data import bulk
from emojax.data.clips import Clip
from emojax.data.container import MediaError
from emojax.data.text import train_tokenizer

CFG = Data(audio_seconds=(0.5, 1.0, 2.0), frames=1, frame_size=8, transcript_tokens=12, workers=0)
TOKENIZER = train_tokenizer(["a calm low voice"], 300)
SECONDS = (0.3, 0.5, 0.8, 1.7)
BUCKET = (0, 0, 1, 2)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A sound of each of SECONDS, then one that is cut off."""
    folder = tmp_path_factory.mktemp("sounds")
    paths = [folder / f"{i}.wav" for i in range(len(SECONDS))]
    for path, seconds in zip(paths, SECONDS, strict=True):
        soundfile.write(path, 0.3 * np.sin(np.arange(round(16_000 * seconds)) / 20), 16_000)
    (folder / "cut.wav").write_bytes(paths[0].read_bytes()[:3000])
    return [*paths, folder / "cut.wav"]


def clips_of(sounds: list[Path], kinds: list[int]) -> list[Clip]:
    """The i-th with sound `kinds[i]`; -1: a transcript alone."""
    return [
        Clip(f"clip{i}", transcript=f"number {i}") if kind < 0 else Clip(f"clip{i}", audio=sounds[kind])
        for i, kind in enumerate(kinds)
    ]


def mixed(count: int) -> list[int]:
    return np.random.default_rng(3).integers(-1, 5, count).tolist()


def run(clips: list[Clip], cfg: Data = CFG, batch: int = 4, reach: int | None = None) -> list[bulk.Bulk]:
    return list(bulk.bulk_batches(clips, TOKENIZER, cfg, caption_tokens=8, batch=batch, reach=reach))


@pytest.mark.parametrize(("workers", "batch", "reach"), [(0, 4, None), (0, 5, 12), (1, 3, 7), (3, 7, None)])
def test_every_clip_once_in_the_shortest_bucket_that_holds_it(
    sounds: list[Path], workers: int, batch: int, reach: int | None
) -> None:
    kinds = mixed(90)
    clips = clips_of(sounds, kinds)
    kind_of = {clip.id: kind for clip, kind in zip(clips, kinds, strict=True)}
    done, broken = [], []
    for real, made, errors in run(clips, replace(CFG, workers=workers), batch, reach):
        broken += [(e.id, e.path.name) for e in errors]
        if made is None:
            continue
        names = np.asarray(made.clip_id).tolist()
        assert names[: len(real)] == [zlib.crc32(c.id.encode()) for c in real]
        assert names[len(real) :] == [names[len(real) - 1]] * (batch - len(real))
        for k, clip in enumerate(real):
            kind = kind_of[clip.id]
            seconds = 0.0 if kind < 0 else SECONDS[kind]
            assert made.audio.shape == (batch, 16_000 * CFG.audio_seconds[max(BUCKET[kind], 0) if kind >= 0 else 0])
            assert made.audio_length[k] == round(16_000 * seconds), "all of the sound, whatever the bucket"
            assert made.transcript_mask[k].any() == (kind < 0)
        done += [clip.id for clip in real]
    assert sorted(done) == sorted(i for i, kind in kind_of.items() if kind != 4)
    assert sorted(broken) == sorted((i, "cut.wav") for i, kind in kind_of.items() if kind == 4)


def test_the_number_of_workers_changes_no_row(sounds: list[Path]) -> None:
    clips = clips_of(sounds, mixed(40))

    def rows(workers: int) -> dict[str, bytes]:
        found = run(clips, replace(CFG, workers=workers))
        return {c.id: made.audio[k].tobytes() for real, made, _ in found if made for k, c in enumerate(real)}

    assert rows(0) == rows(2)


def test_only_the_last_batch_of_a_bucket_is_partly_filled(sounds: list[Path]) -> None:
    found = [(made.audio.shape[1], len(real)) for real, made, _ in run(clips_of(sounds, mixed(90))) if made]
    last = {length: n for n, (length, _) in enumerate(found)}
    assert all(size == 4 for n, (length, size) in enumerate(found) if n != last[length])
    assert len(last) == 3


@pytest.mark.parametrize("reach", [None, 10])
def test_few_clips_are_decoded_at_a_time_and_none_waits_beyond_its_reach(
    sounds: list[Path], monkeypatch: pytest.MonkeyPatch, reach: int | None
) -> None:
    kinds = mixed(300)
    kinds[:100] = [3] + [0] * 99  # a long clip, then nothing of its length for a long time
    read, given, first, late = 0, 0, None, []
    decode = bulk.decode

    def counted(reader: bulk.Reader, row: int) -> object:
        nonlocal read
        read += 1
        return decode(reader, row)

    monkeypatch.setattr(bulk, "decode", counted)
    clips = clips_of(sounds, kinds)
    place = {clip.id: n for n, clip in enumerate(clips)}
    for real, made, errors in bulk.bulk_batches(clips, TOKENIZER, CFG, caption_tokens=8, batch=4, reach=reach):
        first = first or read
        given += len(real) + len(errors)
        assert read - given <= 3 * 3 + 4 + 3, "less than a batch of each length and of errors, and what is read at once"
        late += [read - place[clip.id] for clip in real]
        assert made is None or len(real)
    assert given == 300
    assert first == 8, "the first batch goes out when it is full"
    assert (max(late) > 100) == (reach is None)
    assert reach is None or max(late) <= reach + 2 * 4


def test_a_folder_of_broken_files_is_told_of_as_it_is_met(sounds: list[Path]) -> None:
    found = run(clips_of(sounds, [4] * 10))
    assert [(real, made, len(errors)) for real, made, errors in found] == [([], None, 4)] * 2 + [([], None, 2)]
    assert run([]) == []


def test_strict_stops_at_a_broken_clip_and_names_it(sounds: list[Path]) -> None:
    for workers in (0, 1):
        with pytest.raises(MediaError, match=r"cut\.wav"):
            run(clips_of(sounds, mixed(30)), replace(CFG, workers=workers, strict=True))
