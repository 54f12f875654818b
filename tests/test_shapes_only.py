"""A program compiles from the configuration alone, with no file of its models at hand; what was assumed is told."""

import dataclasses

import pytest

from emojax import param, rewards
from emojax.config import BertConfig, Config, ConfigError, presets
from emojax.decoder import captioner
from emojax.planning.proposals import ProgramName
from emojax.planning.report import plan
from emojax.text import UnigramTables

PUBLISHED = {  # weights of the audio encoder (HuBERT's vector for masked frames is not read) and of the decoder
    "mecap_r1": (94_371_712 - 768, 494_032_768),
    "mecap_r1_large": (315_438_720 - 1024, 7_615_616_512),
    "bart": (94_371_712 - 768, 139_420_416),
    "gpt2": (94_371_712 - 768, 124_439_808),
}
TINY = presets.load("tiny")


def small(sizes: BertConfig | None) -> Config:
    """`tiny` with a decoder, an audio encoder and a reward model whose files are nowhere."""
    items = ["model.decoder.weights=someone/decoder", "model.audio.weights=someone/ears", "reward.model=someone/judge"]
    cfg = presets.override(TINY, items)
    return dataclasses.replace(cfg, reward=dataclasses.replace(cfg.reward, sizes=sizes))


@pytest.mark.parametrize(
    ("kind", "program"), [("bert", "caption"), pytest.param("xlm-roberta", "grpo", marks=pytest.mark.slow)]
)
def test_a_program_compiles_without_any_file(kind: str, program: ProgramName) -> None:
    report = plan(small(BertConfig(kind=kind, vocab=500, width=24, layers=1, heads=2, ff=40)), program)
    assert report["executables"] == 1
    assert report["host_callbacks"] == report["infeeds"] == report["outfeeds"] == 0
    assert report["assumed"] == ["someone/decoder", "someone/judge", "someone/ears"]
    assert report["parameters"]["decoder"] == param.count(captioner.declare(TINY).decoder)


def test_without_sizes_the_reward_model_must_be_there() -> None:
    with pytest.raises(ConfigError, match=r"someone/decoder: not at hand, and reward.sizes"):
        plan(small(None), "grpo")


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_a_preset_assumes_of_its_reward_is_what_the_program_is_given(name: str) -> None:
    cfg = presets.load(name)
    model, static = rewards.abstract(rewards.abstract_reader(cfg.reward), cfg.model.decoder.vocab)
    assert static.sentence.width == 768
    assert static.sentence.max_tokens == cfg.reward.max_tokens
    assert param.count(model.sentence) == 278_043_648 - 590_592  # XLM-R base without its pooler
    assert isinstance(model.tables, UnigramTables)  # the tokenizer of XLM-R is of this kind


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_sizes_of_a_preset_are_those_of_the_published_models(name: str) -> None:
    cfg = presets.load(name)
    tree, decoder = captioner.declare(cfg), cfg.model.decoder
    counted = param.count(tree.encoders.audio), param.count(tree.decoder) - decoder.padding * decoder.width
    assert counted == PUBLISHED[name]
    assert param.count(tree.encoders.video) == 303_179_776
    assert (decoder.vocab + decoder.padding) % 128 == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_every_preset_of_published_models_compiles(name: str) -> None:
    report = plan(presets.load(name), "grpo")
    assert report["executables"] == 1
    assert report["host_callbacks"] == report["infeeds"] == report["outfeeds"] == 0
    assert report["flops"] > 1e13
    resident = report["parameters"]["all"] + report["parameters"]["reward"]
    assert report["peak_bytes_per_device"] > 2 * resident  # every weight is there, in half precision at least
