"""A reward of one's own, by path: part of the program, or refused in one line before anything compiles."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

from emojax import rewards
from emojax.config import ConfigError, Reward, presets
from emojax.data.clips import Clip
from emojax.data.text import END
from emojax.parallel import sharding
from emojax.rewards import parts as folder
from emojax.rewards.part import scorer
from emojax.training.program import grpo_program
from support import made_up
from support.byte_policy import policy

ROOT = Path(__file__).parents[1]
PLAIN = '''"""Captions in plain words: few of them, and one that stands in the references."""

import jax.numpy as jnp

from emojax.rewards import Captions
from emojax.types import Array, References


def plain(captions: Captions, clips: References) -> Array:
    few = -captions.words.mask.sum(-1) / 10.0  # [B G]
    same = captions.words.ids[:, :, :, None, None] == clips.words.ids[:, None, None]  # [B G W R W]
    same &= captions.words.mask[..., None, None] & clips.words.mask[:, None, None]
    return jnp.where(same.any((-3, -2, -1)), few + 1, few)
'''


def written(folder: Path, text: str, name: str = "own.py") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_it_is_scored_in_the_graph_and_on_strings(tmp_path: Path) -> None:
    own = f"{written(tmp_path, PLAIN)}:plain*0.5"
    reader = rewards.make_reader(Reward(parts=(own, "ending"), model="nowhere", max_bytes=30), policy())
    assert reader.needs == {"words", "bytes"}, "found by looking at what it reads"
    model, static = rewards.build(reader)
    clips = [Clip("a", captions=("She is sad.",)), Clip("b", captions=("x",))]
    texts = ["sad man.", "so it is", "", "a"]
    rows = [policy().encode(text).ids for text in texts]
    ids, mask = np.zeros((2, 2, 12), np.int32), np.zeros((2, 2, 12), bool)
    for n, row in enumerate(rows):
        ids[n // 2, n % 2, : len(row) + 1], mask[n // 2, n % 2, : len(row) + 1] = [*row, END], True
    refs = rewards.references(reader, clips, 1)
    total, parts = jax.jit(rewards.score, static_argnums=1)(model, static, ids, mask, refs)
    np.testing.assert_allclose(parts["plain"], [[0.8, 0.7], [0, -0.1]], atol=1e-6)
    np.testing.assert_allclose(total, 0.5 * parts["plain"] + parts["ending"], atol=1e-6)
    wanted = rewards.score_texts(model, static, reader, texts, [clips[0], clips[0], clips[1], clips[1]])
    np.testing.assert_allclose(np.asarray(total).ravel(), wanted["reward"], atol=1e-6)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return captions.words.mask.sum()", r"wants to give a floating-point number .*\[2, 3\] .* got int32\[\]"),
        ("return -captions.words.mask.sum(-1)", r"got int32\[2, 3\]"),
        ("return captions.policy.mask.sum(-1) / 2.0 if captions.policy.mask.any() else 0.0", "Tracer"),
        pytest.param(
            "kept.append(captions.words.mask.sum(-1) / 2.0)\n    return kept[-1]",
            "kept beyond the call",
            marks=pytest.mark.slow,  # jax looks for who keeps it among all objects
        ),
        ("jax.debug.print('{x}', x=1)\n    return captions.words.mask.sum(-1) / 2.0", "calls the host .*host:"),
        ("return captions.texts", "Captions has no texts .* it has policy, bytes, words, tokens, embedding"),
        ("return clips.captions", "References has no captions"),
        ("return captions.words.mask @ 3", "cannot be part of the program: ValueError: matmul"),
    ],
)
def test_what_is_wrong_with_it_is_one_line(body: str, message: str, tmp_path: Path) -> None:
    file = written(tmp_path, f"import jax\nkept = []\ndef broken(captions, clips):\n    {body}\n")
    with pytest.raises(ConfigError, match=message) as found:
        scorer(f"{file}:broken*0.3", Reward(max_bytes=20))
    assert "\n" not in str(found.value)
    assert str(found.value).startswith(f"reward.parts: {file}:broken")


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("def plain(", "plain", "the file cannot be run: SyntaxError"),
        ("import nowhere_at_all", "plain", "cannot be run: ModuleNotFoundError"),
        ("def plane(captions, clips): ...", "plain", "has no function plain; it has plane"),
        ("def plain(captions): ...", "plain", "TypeError: .*positional"),
    ],
)
def test_a_file_without_the_function_is_refused(text: str, name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        scorer(f"{written(tmp_path, text)}:{name}", Reward())
    with pytest.raises(ConfigError, match="there is no file"):
        scorer(f"{tmp_path}/nowhere.py:plain", Reward())


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ("emotoin*0.5", "no part of a reward is called 'emotoin', did you mean 'emotion'"),
        ("sentence(pol=max)", "sentence has no option 'pol', did you mean 'pool'"),
        ("sentence(pool=most)", "pool is one of 'mean', 'max', got 'most'"),
        ("length(low=9, high=3)", "wants 0 < low <= high, got low=9, high=3"),
        ("length(low=9)", r"wants high=VALUE in brackets"),
        ("bleu(n=0)", "n wants 1 to 8, got 0"),
        ("wheel(table=nowhere.json)", "there is no file"),
    ],
)
def test_a_part_that_cannot_be_meant_is_refused_when_it_is_looked_up(parts: str, message: str) -> None:
    cfg = presets.load("tiny", [f"reward.parts={parts}"])
    with pytest.raises(ConfigError, match=message):
        rewards.build(rewards.make_reader(cfg.reward, policy()))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ("emotion*x", "the weight wants a number, got 'x'"),
        ("emotion*inf", "the weight wants a number"),
        ("emotion,emotion", r"emotion is there twice: call one of them otherwise, by \(as=NAME\)"),
        ("emotion*0", "wants a part whose weight is not 0"),
        ("emotion(if=facts>0)", "the gate of emotion wants another part"),
        ("emotion(if=facts),facts", r"a gate is if=OTHER>BOUND"),
        ("emotion(max)", "an option is NAME=VALUE, got 'max'"),
        ("emotion sentence", "wants NAME\\*WEIGHT"),
    ],
)
def test_parts_that_are_written_wrongly_are_refused_at_once(parts: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        presets.load("tiny", [f"reward.parts={parts}"])


def test_a_new_part_is_one_file_and_nothing_else_is_edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that the docs show, of thirty lines at most, under another name."""
    shown = (ROOT / "docs/rewards.md").read_text().partition("## A new part")[2]
    text = re.search(r"```python\n(.*?)```", shown, re.DOTALL)
    assert text is not None
    assert text[1] == (ROOT / "emojax/rewards/parts/repetition.py").read_text(), "this is all of it"
    assert text[1].count("\n") <= 30
    written(tmp_path, text[1], "again.py")
    monkeypatch.setattr(folder, "__path__", [*folder.__path__, str(tmp_path)])
    reader = rewards.make_reader(Reward(parts=("again(n=2)*0.5", "repetition(n=2)"), max_bytes=30), policy())
    told = rewards.score_texts(*rewards.build(reader), reader, ["so so so so", "so it is"], [Clip("a"), Clip("b")])
    np.testing.assert_allclose(told["again"], [-2 / 3, 0], atol=1e-6)
    np.testing.assert_array_equal(told["again"], told["repetition"])


def lowered(parts: tuple[str, ...]) -> str:
    """The Emo-GRPO step of a made-up captioner that writes single bytes."""
    cfg = made_up.config(reward=Reward(parts=parts, model="nowhere", max_bytes=20))
    model, static = rewards.build(rewards.make_reader(cfg.reward, policy()))
    return grpo_program(cfg, sharding.make_mesh(cfg, jax.devices()[:1]), model, static).lower().as_text()


def test_one_of_the_host_is_asked_for_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = (
        "def judge(captions, clips):\n    return [len(c) + len(clip.captions[0]) for c, clip in zip(captions, clips)]\n"
    )
    own = f"host:{written(tmp_path, text)}:judge"
    reader = rewards.make_reader(Reward(parts=(own,), max_bytes=30), policy())
    assert "every step waits for it" in caplog.text
    model, static = rewards.build(reader)
    clips = [Clip("a", captions=("four",)), Clip("b", captions=("x",))]
    found = rewards.score_texts(model, static, reader, ["é", "", "abc"], [clips[0], clips[1], clips[1]])
    assert found["judge"].tolist() == [5, 1, 4]
    assert "callback" in lowered((own,))
    every = ("facts", "label", "wheel", "units", "rouge_l", "bleu", "cider", "length(low=1, high=9)", "repetition")
    every += ("overlong(limit=9, soft=3)", "copying", "ending", f"{written(tmp_path, PLAIN)}:plain(if=facts>0)")
    assert "callback" not in lowered(every)
