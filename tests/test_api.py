"""What `import emojax` promises: some twenty names, typed, documented and light, with short reprs."""

import ast
import dataclasses
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import emojax
from emojax.api import scoring
from emojax.api.step import remembering
from emojax.commands import use
from emojax.config import Reward, presets
from emojax.data.clips import Clip, write_manifest
from emojax.evaluation import report
from emojax.training.optim import make_optimizer
from test_caption_file import CFG, model

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))
TINY = presets.load("tiny", ["decoder.layers=1", "grpo.batch=2", "grpo.group=2", "caption_tokens=6"])


def test_importing_it_imports_nothing() -> None:
    code = "import sys, emojax; dir(emojax); print([m for m in sys.modules if m in ('jax', 'numpy', 'flax', 'grain')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_every_public_name_is_there_listed_and_documented() -> None:
    assert len(emojax.__all__) < 30
    assert set(emojax.__all__) <= set(dir(emojax))
    for name in emojax.__all__:
        found = getattr(emojax, name)
        assert isinstance(found, str) or inspect.getdoc(found), name
        if inspect.isfunction(found):
            signature = inspect.signature(found)
            assert all(p.annotation is not p.empty for p in signature.parameters.values()), name
            assert signature.return_annotation is not signature.empty, name
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        emojax.trian  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue] what must fail


def test_what_is_looked_at_is_told_in_a_line() -> None:
    assert len(repr(emojax.preset("mecap_r1"))) < 150
    assert len(repr(model())) < 100
    assert "weights" in repr(model())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_short_and_uses_public_names_alone(path: Path) -> None:
    text = path.read_text()
    code = [line for line in text.splitlines()[1:] if line.strip()]
    assert len(code) <= 20
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not [name for name in names if name.startswith("emojax.")]
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "emojax":
            assert node.attr in emojax.__all__


def clips(count: int) -> list[Clip]:
    """In memory, of words alone."""
    return [Clip(f"clip {i}", transcript=f"number {i}", captions=("a calm voice",)) for i in range(count)]


def count_words(worth: Any, ids: Any, mask: Any, references: None) -> tuple[Any, dict[str, Any]]:
    value = jnp.where(mask, worth[ids], 0).sum(-1)
    return value, {"length": mask.sum(-1).astype(jnp.float32)}


def test_a_step_shows_what_it_sampled_what_that_earned_and_where_it_pushes() -> None:
    worth = jnp.arange(384, dtype=jnp.float32)
    step = emojax.Step(TINY, clips(4), reward=count_words, arrays=lambda _: worth, devices=jax.devices()[:1])
    state, (batch,) = step.start(), step.batches(1)
    after, seen = step(state, batch)
    again, same = step(state, batch)
    assert (int(after.step), int(again.step), int(state.step)) == (1, 1, 0), "a state is not used up"
    np.testing.assert_array_equal(seen.ids, same.ids)
    np.testing.assert_allclose(seen.reward, np.where(seen.mask, seen.ids, 0).sum(-1))
    np.testing.assert_array_equal(seen.parts["length"], seen.mask.sum(-1))
    np.testing.assert_allclose(seen.advantage.sum(-1), 0, atol=1e-4)
    assert [len(captions) for captions in seen.captions] == [2, 2]
    assert set(seen.clips) < {clip.id for clip in step.clips}
    assert seen.metrics["reward"] == pytest.approx(float(seen.reward.mean()), rel=1e-5)
    whole = sum(norm**2 for norm in seen.norms().values()) ** 0.5
    assert whole == pytest.approx(seen.metrics["grad_norm"], rel=1e-4)
    assert whole > 0
    assert len(repr(seen)) < 100


def test_an_optimizer_that_remembers_makes_the_same_updates() -> None:
    params, grads = {"w": jnp.ones(3)}, {"w": jnp.array([1.0, -2.0, 0.5])}
    declared: Any = {"w": type("P", (), {"axes": ("D",)})()}
    plain = make_optimizer(TINY.sft.optimizer, 9, declared)
    kept = remembering(plain)
    with jax.numpy_dtype_promotion("standard"):  # as in training.optim: optax's own arithmetic
        updates, state = kept.update(grads, kept.init(params), params)
        same, _ = plain.update(grads, plain.init(params), params)
    np.testing.assert_array_equal(updates["w"], same["w"])
    np.testing.assert_array_equal(state.gradients["w"], grads["w"])


def test_captions_are_scored_by_the_reward_that_is_written_beside_them(tmp_path: Path) -> None:
    reward = Reward(parts=("rouge_l",))
    out, manifest = tmp_path / "out.jsonl", tmp_path / "clips.jsonl"
    splits = ["train", *["test"] * 4]
    said = [Clip(str(i), transcript="hm", captions=("a calm voice",), split=s) for i, s in enumerate(splits)]
    write_manifest(manifest, said)
    out.write_text('{"id": "1", "caption": "a calm voice"}\n{"id": "2", "caption": "no"}\n')
    with out.open("a") as file:
        file.writelines(f'{{"id": "{i}", "error": "cut off", "file": "c.wav"}}\n' for i in (3, 4))
    made_with = json.loads(presets.dumps(dataclasses.replace(CFG, reward=reward)))
    settings = {"reward": made_with["reward"], "data": made_with["data"] | {"frames": 3}}
    (tmp_path / "out.jsonl.settings.json").write_text(json.dumps(settings))
    found = scoring.settings_config(out)
    assert found is not None
    assert (found.reward, found.data.frames, found.data.audio_seconds) == (reward, 3, CFG.data.audio_seconds)
    rows = emojax.evaluate(out, manifest)
    assert rows.keys() == {"constant", "nearest", "captions"}
    assert (rows["captions"]["clips"], rows["captions"]["broken"]) == (2, 2)
    assert rows["captions"]["reward"] == pytest.approx(0.5)
    assert rows["constant"]["clips"] == 2
    assert rows["captions"]["reward_by"] == "1 rouge_l (of out.jsonl.settings.json)"
    use.evaluate(out, manifest, out=tmp_path / "scores")
    assert {path.name for path in (tmp_path / "scores").iterdir()} == set(report.FILES)
    assert "a calm voice" in (tmp_path / "scores" / "report.html").read_text()
    other = emojax.evaluate({"1": "a calm voice", "2": "no"}, said[1:3], cfg=found)
    assert other.keys() == {"captions"}
    assert other["captions"]["reward_by"] == "1 rouge_l (of demo)"
    scores = emojax.score(["a calm voice", "no"], [["a calm voice"]] * 2, found)
    assert scores["reward"].tolist() == [1, 0]
