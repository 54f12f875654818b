"""References are made of the clips that batches will read, once: what is read in parts is what is read at once."""

import jax
import numpy as np
import pytest

from emojax import rewards
from emojax.config import Config
from emojax.data.batches import Batching, rows_read
from emojax.data.clips import Clip
from emojax.parallel.sharding import make_mesh
from emojax.rewards import sentence
from test_batches import CFG, TOKENIZER, clips, name_of, take  # noqa: F401  clips is a fixture
from test_rewards import CAPTIONS, judge


def test_the_clips_of_coming_batches_are_known_before_they_are_read(clips: list[Clip]) -> None:  # noqa: F811
    for start, count in ((0, 1), (3, 2), (0, 40)):
        batching = Batching(4, 7, 16, start=start)
        read = {name_of(clips[row]) for row in rows_read(clips, CFG, batching, count)}
        assert read == {int(name) for batch in take(count, clips, start=start) for name in batch.clip_id}


def test_parts_are_the_whole_and_no_text_is_embedded_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = judge(TOKENIZER, parts=("emotion*0.5", "sentence*0.5", "facts*0.5", "rouge_l(tokens=reward)*0"))
    few = [Clip(name, captions=captions[:2], emotion=name) for name, captions in CAPTIONS.items()]
    few.append(Clip("again", captions=CAPTIONS["sad"][1:], emotion="sad"))
    whole = rewards.references(reader, few, limit=2)
    embedded: list[str] = []

    def embed(read: rewards.Reader, texts: list[str]) -> np.ndarray:
        assert jax.sharding.get_mesh().size == 1, "one process alone may ask"
        embedded.extend(texts)
        return sentence.embed_texts(read.weights, read.sentence, read.tokenizer, texts)

    monkeypatch.setattr(rewards.Reader, "embed", embed)
    of = rewards.lookup(reader, few, 2, ahead=np.array([3, 1]))
    assert sorted(embedded) == sorted([*CAPTIONS["fearful"][:2], *CAPTIONS["sad"][:2]])
    for rows in ([1, 3, 1], [4, 0], [2, 0, 4]):
        wanted = jax.tree.map(lambda x, rows=rows: x[rows], whole)
        with jax.set_mesh(make_mesh(Config("eight"), stage="grpo")), jax.transfer_guard("disallow"):  # as the loop does
            found = of(np.array(rows))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, wanted)
    assert len(embedded) == len(set(embedded)) == 9
