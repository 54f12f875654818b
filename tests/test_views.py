"""What is hidden of a clip depends on (seed, batch, clip) alone; the captions that are then learnt hold of what is
left."""

from collections import Counter

import numpy as np

from emojax.data.clips import Clip
from emojax.data.reader import Decoded, View
from emojax.data.views import Hiding, view

BOTH = Decoded(np.ones(800, np.float32), np.ones((2, 4, 4, 3), np.uint8), samples=800, frames=True)
SOUND = Decoded(BOTH.audio, None, samples=800)
PARTIAL = {"audio": ("heard",), "video": ("seen",), "transcript": ("read",)}
CLIPS = [Clip(f"c{n}", transcript="Yes.", captions=("whole",), captions_of=PARTIAL) for n in range(4000)]
RATES = Hiding(stream=0.2, media=0.1, transcript=0.3)


def left(view: View) -> frozenset[str]:
    there = {"audio": view.decoded.audio is not None, "video": view.decoded.video is not None}
    assert (view.decoded.samples > 0, view.decoded.frames) == tuple(there.values())
    return frozenset(name for name, is_there in there.items() if is_there)


def test_every_subset_comes_as_often_as_said() -> None:
    seen = [view(clip, BOTH, RATES, 0, 3) for clip in CLIPS]
    share = {streams: n / len(seen) for streams, n in Counter(map(left, seen)).items()}
    wanted = {("audio", "video"): 0.9 * 0.6, ("audio",): 0.9 * 0.2, ("video",): 0.9 * 0.2, (): 0.1}
    assert set(share) == {frozenset(streams) for streams in wanted}
    for streams, rate in wanted.items():
        assert abs(share[frozenset(streams)] - rate) < 0.03
    silent = [v for v in seen if v.transcript is None]
    assert all(map(left, silent)), "nothing is left of a clip"
    assert abs(len(silent) / len(seen) - 0.3 * 0.9) < 0.03


def test_captions_and_labels_hold_of_what_is_left() -> None:
    for clip in CLIPS[:200]:
        found = view(clip, BOTH, RATES, 0, 3)
        words = {("audio", "video"): "whole", ("audio",): "heard", ("video",): "seen", (): "read"}
        assert found.captions == (words[tuple(sorted(left(found)))],)
        assert found.whole == (found.captions == ("whole",))


def test_without_captions_of_a_part_those_of_the_whole_are_learnt_and_media_are_never_all_hidden() -> None:
    for clip in CLIPS[:500]:
        found = view(Clip(clip.id, transcript="Yes.", captions=("whole",)), BOTH, RATES, 0, 3)
        assert left(found)
        assert found.captions == ("whole",)
        assert found.whole


def test_the_one_stream_that_a_clip_has_is_kept() -> None:
    hiding = Hiding(stream=0.5, transcript=1.0)
    for clip in CLIPS[:200]:
        found = view(clip, SOUND, hiding, 0, 3)
        assert left(found) == {"audio"}
        assert found.captions == ("whole",)
        words = view(clip, Decoded(None, None), hiding, 0, 3)
        assert words.transcript == "Yes."
        assert words.captions == ("whole",)


def test_noise_is_named_by_seed_batch_and_clip() -> None:
    def drawn(seed: int, i: int) -> list[tuple[frozenset[str], bool]]:
        found = (view(clip, BOTH, RATES, seed, i) for clip in CLIPS[:300])
        return [(left(v), v.transcript is None) for v in found]

    assert drawn(0, 3) == drawn(0, 3)
    assert drawn(0, 3) != drawn(0, 4)
    assert drawn(0, 3) != drawn(1, 3)
