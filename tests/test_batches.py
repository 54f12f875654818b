"""Batch `i` is a function of (seed, i): of no worker, process, start or order; what is missing is masked."""

import zlib
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path

import av
import jax
import numpy as np
import pytest
import soundfile

from emojax.config import Data
from emojax.data import order as batch_order
from emojax.data import reader
from emojax.data.audio import decode_audio
from emojax.data.batches import Batching, training_batches
from emojax.data.clips import Clip
from emojax.data.container import MediaError
from emojax.data.order import clips_in, make_order
from emojax.data.reader import load
from emojax.data.text import END, decode, train_tokenizer
from emojax.data.video import decode_video
from emojax.types import Batch, References, Text

CFG = Data(audio_seconds=(0.5, 1.0), frames=3, frame_size=16, transcript_tokens=12, workers=0, cache_gb=0.1)
TOKENIZER = train_tokenizer(["a calm low voice", "a bright high voice"], 300)


def write_film(path: Path, shade: int) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for i in range(6):
            picture = np.full((32, 32, 3), shade + 4 * i, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        out.mux(stream.encode())


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    """21 clips: 12 short, 9 long; every third with video, every fourth with a transcript, two without sound."""
    folder = tmp_path_factory.mktemp("clips")
    made = []
    for i in range(21):
        seconds = 0.3 + 0.01 * i if i < 12 else 0.7 + 0.01 * i
        soundfile.write(folder / f"{i}.wav", 0.5 * np.sin(np.arange(round(16_000 * seconds)) * (i + 1) / 90), 16_000)
        if i % 3 == 0:
            write_film(folder / f"{i}.mp4", 20 + 8 * i)
        made.append(
            Clip(
                f"clip{i}",
                audio=None if i in (3, 15) else folder / f"{i}.wav",
                video=folder / f"{i}.mp4" if i % 3 == 0 else None,
                transcript=f"number {i}" if i % 4 == 0 else None,
                captions=tuple(f"caption {i} {c}" for c in "abcde"[: 1 + i % 5]),
                seconds=seconds if i % 2 else None,
            )
        )
    return made


def take(count: int, clips: Sequence[Clip], cfg: Data = CFG, batch: int = 4, seed: int = 7, **where) -> list[Batch]:
    extra = {name: where.pop(name) for name in ("emotions", "attributes", "references", "features") if name in where}
    batches = training_batches(clips, TOKENIZER, cfg, Batching(batch, seed, 16, **where), **extra)
    try:
        return list(islice(batches, count))
    finally:
        batches.close()


def arrays(batch: Batch) -> dict[str, np.ndarray]:
    held = {f.name: getattr(batch, f.name) for f in fields(batch) if f.name != "references"}
    return {name: np.asarray(value) for name, value in held.items() if value is not None}


def assert_same(a: Batch, b: Batch) -> None:
    for name, value in arrays(a).items():
        np.testing.assert_array_equal(value, arrays(b)[name], err_msg=name)


def name_of(clip: Clip) -> int:
    return zlib.crc32(clip.id.encode())


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(clips: list[Clip], workers: int) -> None:
    for a, b in zip(take(9, clips), take(9, clips, replace(CFG, workers=workers)), strict=True):
        assert_same(a, b)


def test_a_run_may_start_at_any_batch(clips: list[Clip]) -> None:
    unbroken = take(30, clips)
    for start in (1, 8, 29):
        for a, b in zip(unbroken[start:], take(30 - start, clips, start=start), strict=True):
            assert_same(a, b)


def test_clips_whose_sound_is_cut_are_told_of(clips: list[Clip], caplog: pytest.LogCaptureFixture) -> None:
    short = replace(CFG, audio_seconds=(0.75,))  # none of the odd half, by 0.04 s and more
    take(12, [c for c in clips if c.seconds is None], short)
    assert len(caplog.messages) == 1, "of the first, and then of the tenth"
    assert caplog.messages[0].startswith("clips longer than the last of data.audio_seconds, 0.75 s")


@pytest.mark.parametrize("n", [2, 4])
def test_processes_read_rows_of_one_batch(clips: list[Clip], n: int) -> None:
    whole = take(6, clips)
    parts = [take(6, clips, rows=range(p * 4 // n, (p + 1) * 4 // n)) for p in range(n)]
    for i, batch in enumerate(whole):
        for name, value in arrays(batch).items():
            joined = np.concatenate([arrays(part[i])[name] for part in parts])
            np.testing.assert_array_equal(joined, value, err_msg=name)


def test_a_seed_gives_an_order_and_a_batch_has_one_length(clips: list[Clip]) -> None:
    a, b = take(20, clips), take(20, clips, seed=8)
    assert any((x.clip_id != y.clip_id).any() for x, y in zip(a, b, strict=True))
    lengths = {name_of(c): 8000 if i < 12 or c.audio is None else 16_000 for i, c in enumerate(clips)}
    assert {batch.audio.shape for batch in a} == {(4, 8000), (4, 16_000)}
    for batch in a:
        assert all(lengths[int(c)] == batch.audio.shape[1] for c in batch.clip_id)


@pytest.mark.parametrize("sizes", [(40,), (12, 9), (5, 30, 17), (7, 7, 7, 64)])
def test_every_clip_is_seen_once_before_any_is_seen_again(sizes: tuple[int, ...]) -> None:
    buckets = tuple(float(b + 1) for b in range(len(sizes)))
    seconds = [b for b, n in zip(buckets, sizes, strict=True) for _ in range(n)]

    def streams(seed: int) -> list[np.ndarray]:
        order = make_order(seconds, buckets, 4, seed)
        batches = [clips_in(order, i) for i in range(400)]
        return [np.concatenate([rows for bucket, rows in batches if bucket == b]) for b in range(len(sizes))]

    seen = streams(3)
    for n, stream, other in zip(sizes, seen, streams(4), strict=True):
        for epoch in range(len(stream) // n):
            assert len(set(stream[epoch * n : (epoch + 1) * n].tolist())) == n
        assert (stream[:n] != stream[n : 2 * n]).any()
        assert (stream[:n] != other[:n]).any()
    counts = np.array([len(s) for s in seen]) / 1600
    np.testing.assert_allclose(counts, np.array(sizes) / sum(sizes), atol=0.02)  # each bucket by its share of clips


@pytest.mark.parametrize(("clips", "batch"), [(100, 16), (40, 16), (40, 32), (33, 32), (32, 32), (47, 24), (7, 3)])
def test_no_clip_is_twice_in_a_batch(clips: int, batch: int) -> None:
    """Nor where a batch begins in one epoch and ends in the next; and any batch is had without those before it."""
    order = make_order([1.0] * clips, (2.0,), batch, seed=5)
    batches = [clips_in(order, i)[1] for i in range(300)]
    assert all(len(set(rows.tolist())) == batch for rows in batches)
    stream = np.concatenate(batches)
    for epoch in range(len(stream) // clips):
        assert len(set(stream[epoch * clips : (epoch + 1) * clips].tolist())) == clips
    for forget in (batch_order._epoch, batch_order._permutation):
        forget.cache_clear()
    np.testing.assert_array_equal(clips_in(order, 211)[1], batches[211])


def test_a_bucket_that_cannot_fill_a_batch_joins_the_next() -> None:
    order = make_order([1.0] * 3 + [2.0] * 9 + [5.0] * 2, (1.0, 2.0, 3.0), 4, seed=0)
    assert (order.seconds, [len(m) for m in order.members]) == ((2.0, 3.0), [12, 2])


def test_what_a_clip_holds_is_in_its_row_and_the_rest_is_masked(clips: list[Clip]) -> None:
    by_name = {name_of(c): c for c in clips}
    captions: dict[int, set[str]] = {}
    for batch in take(60, clips):
        for k in range(4):
            clip = by_name[int(batch.clip_id[k])]
            sound = None if clip.audio is None else decode_audio(clip.audio)
            n = int(batch.audio_length[k])
            assert n == (0 if sound is None else len(sound))
            np.testing.assert_array_equal(batch.audio[k, :n], np.zeros(0) if sound is None else sound)
            assert not np.asarray(batch.audio[k, n:]).any()
            assert np.asarray(batch.video_mask[k]).tolist() == [clip.video is not None] * 3
            if clip.video is not None:
                np.testing.assert_array_equal(batch.video[k], decode_video(clip.video, 3, 16))
            words = np.asarray(batch.transcript[k])[np.asarray(batch.transcript_mask[k])]
            assert decode(TOKENIZER, words)[:8] == (clip.transcript or "")[:8]
            found = [
                decode(TOKENIZER, ids[mask]) for ids, mask in zip(batch.caption[k], batch.caption_mask[k], strict=True)
            ]
            drawn = [text for text in found if text]
            assert len(set(drawn)) == len(drawn) == min(CFG.targets, len(clip.captions))
            assert set(drawn) <= set(clip.captions)
            ends = [
                ids[mask][-1] for ids, mask in zip(batch.caption[k], batch.caption_mask[k], strict=True) if mask.any()
            ]
            assert ends == [END] * len(drawn)
            captions.setdefault(int(batch.clip_id[k]), set()).update(drawn)
    assert all(len(captions[name_of(c)]) > (len(c.captions) > 1) for c in clips)  # not always the same one


def test_the_target_depends_on_the_clip_not_on_its_row(clips: list[Clip]) -> None:
    drawn = [
        {int(c): t.tobytes() for c, t in zip(b.clip_id, np.asarray(b.caption), strict=True)} for b in take(12, clips)
    ]
    reference = [{} for _ in drawn]
    for p in range(4):
        for i, b in enumerate(take(12, clips, rows=[p])):
            reference[i].update({int(c): t.tobytes() for c, t in zip(b.clip_id, np.asarray(b.caption), strict=True)})
    assert drawn == reference


def test_a_host_decodes_the_clips_of_its_rows_alone(clips: list[Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    whole, decoded = list(take(5, clips)), []
    read = reader.load
    monkeypatch.setattr(reader, "load", lambda clip, *a: decoded.append(clip.id) or read(clip, *a))
    for row in (0, 2):
        decoded.clear()
        own = {int(batch.clip_id[0]) for batch in take(5, clips, rows=[row])}
        assert {zlib.crc32(name.encode()) for name in decoded} == own == {int(batch.clip_id[row]) for batch in whole}


def test_references_and_labels_follow_their_clips(clips: list[Clip]) -> None:
    names = np.array([name_of(c) for c in clips])
    table = np.arange(21 * 2 * 3).reshape(21, 2, 3)
    references = References(table[..., 0] > 9, Text(table, table > 4), table / 7, own={"facts": table[:, 0]})  # pyright: ignore[reportArgumentType]  # numpy on the host
    labels = np.eye(7, dtype=np.float32)[np.arange(21) % 7] * 0.5
    values = np.arange(42, dtype=np.int32).reshape(21, 2)
    extra = {"emotions": labels, "attributes": values}
    extra["references"] = lambda rows: jax.tree.map(lambda x: x[rows], references)
    for batch in take(6, clips, replace(CFG, workers=1), **extra):
        assert batch.references is not None
        rows = [int(np.flatnonzero(names == c)[0]) for c in np.asarray(batch.clip_id)]
        np.testing.assert_array_equal(batch.emotion, labels[rows])
        np.testing.assert_array_equal(batch.attributes, values[rows])
        np.testing.assert_array_equal(batch.references.tokens.ids, table[rows])
        np.testing.assert_array_equal(batch.references.own["facts"], table[rows][:, 0])
        assert batch.references.words is None
        np.testing.assert_array_equal(batch.references.embedding, table[rows] / 7)
        np.testing.assert_array_equal(batch.references.present, table[rows][..., 0] > 9)


@pytest.fixture
def broken(clips: list[Clip], tmp_path: Path) -> list[Clip]:
    """The clips with the media of three of them cut off or gone."""
    found = list(clips)
    for i in (5, 13):
        cut = tmp_path / f"cut{i}.wav"
        cut.write_bytes(clips[i].audio.read_bytes()[:3000])  # pyright: ignore[reportOptionalMemberAccess] these clips have audio
        found[i] = replace(clips[i], audio=cut, seconds=0.4 if i < 12 else 0.9)
    found[6] = replace(clips[6], video=tmp_path / "gone.mp4")
    return found


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_clip_is_replaced_and_named_once(
    clips: list[Clip], broken: list[Clip], caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    for whole, batch in zip(take(30, clips), take(30, broken, replace(CFG, workers=workers)), strict=True):
        names, wanted = np.asarray(batch.clip_id), np.asarray(whole.clip_id)
        lost = np.isin(wanted, [name_of(clips[i]) for i in (5, 6, 13)])
        np.testing.assert_array_equal(names[~lost], wanted[~lost])
        assert not np.isin(names, [name_of(clips[i]) for i in (5, 6, 13)]).any()
        assert batch.audio.shape == whole.audio.shape
    for file in ("cut5.wav", "cut13.wav", "gone.mp4"):
        assert len([r for r in caplog.records if file in r.getMessage()]) == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_strict_stops_at_a_broken_clip_and_names_it(broken: list[Clip], workers: int) -> None:
    with pytest.raises(MediaError, match=r"cut5.wav|cut13.wav|gone.mp4"):
        take(30, broken, replace(CFG, workers=workers, strict=True))


def test_a_bucket_of_broken_clips_stops_the_run(broken: list[Clip]) -> None:
    with pytest.raises(MediaError, match="nor can any other clip"):
        take(1, [broken[5], broken[6]], batch=1)


def test_what_cannot_be_trained_on_is_refused_at_once(clips: list[Clip]) -> None:
    with pytest.raises(ValueError, match="no clips"):
        take(1, [])
    with pytest.raises(ValueError, match="1 of 2 clips have neither, the first: bare"):
        take(1, [clips[0], Clip("bare", transcript="hm")])


def test_audio_beyond_the_last_bucket_is_cut_there(clips: list[Clip]) -> None:
    short = replace(CFG, audio_seconds=(0.25,))
    for batch in take(3, clips, short):
        assert batch.audio.shape == (4, 4000)
    loaded = load(clips[20], short)
    whole = load(clips[20], CFG)
    assert loaded.audio is not None
    assert whole.audio is not None
    np.testing.assert_array_equal(loaded.audio, whole.audio[:4000])


def test_clips_that_hold_nothing_that_they_name_are_errors(clips: list[Clip]) -> None:
    with pytest.raises(MediaError, match="holds no stream"):
        load(Clip("x", video=clips[1].audio), CFG)


def test_a_clip_longer_than_its_manifest_says_is_an_error_not_a_cut(clips: list[Clip]) -> None:
    with pytest.raises(MediaError, match=r"is listed with 0.2 s of sound and has 0.9 s"):
        load(replace(clips[20], seconds=0.2), CFG)
