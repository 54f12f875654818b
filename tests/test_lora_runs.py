"""Runs with adapters, from a published model to captions: resumed, gone on with, merged, and as peft reads them."""

import dataclasses
import json
import operator
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from emojax import captioning
from emojax.captioning import Decoding
from emojax.config import Config, Lora, presets
from emojax.corpus import source
from emojax.decoder import pretrained
from emojax.errors import RunError
from emojax.export import directory
from emojax.training import adapters, exported, initial, stages
from emojax.training.run import open_run, stage_of
from emojax.training.stage_mesh import stage_mesh
from emojax.types import Tree
from test_pretrained import configured, hashes, quiet

torch = pytest.importorskip("torch", reason="parity with peft")
peft = pytest.importorskip("peft", reason="parity with peft")

TARGETS = ("decoder.layers.attention.*", "encoders.audio.backbone.layers.mlp")
LORA = Lora(TARGETS, rank=3, alpha=6.0)


def adapted(folder: Path, lora: Lora = LORA) -> Config:
    """A high rate: three steps are to be seen in the logits."""
    cfg = presets.override(configured(folder, "hubert-clip-qwen2"), ["grpo.optimizer.learning_rate=0.1"])
    return dataclasses.replace(cfg, lora=lora, frozen_precision="int8")


def mesh_of(run: Path) -> jax.sharding.Mesh:
    """The run's own: on another, sums over a column round otherwise."""
    return stage_mesh(presets.read_json(run / "config.json"), stage_of(run))


def kept(run: Path) -> Tree:
    return initial.run_captioner(run, presets.read_json(run / "config.json"), mesh_of(run))


def same(a: Tree, b: Tree) -> bool:
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: np.array_equal(x, y), a, b)))


def logits(model) -> np.ndarray:
    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(3, 63).reshape(3, 20)).logits.numpy()


def test_a_run_from_before_there_were_adapters_is_gone_on_with(tmp_path: Path) -> None:
    cfg = presets.load("tiny")
    open_run(tmp_path, "sft", cfg, resume=False, overwrite=False)
    old = json.loads((tmp_path / "config.json").read_text())
    del old["lora"]
    (tmp_path / "config.json").write_text(json.dumps(old))
    open_run(tmp_path, "sft", cfg, resume=True, overwrite=False)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')  # a directory without a step is no run
    with pytest.raises(RunError, match=r"lora.rank: 8 there, 4 now"):
        open_run(tmp_path, "sft", presets.override(cfg, ["lora.rank=4"]), resume=True, overwrite=False)


@pytest.mark.slow
def test_a_run_with_adapters_resumes_and_is_exported_both_ways(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    run = tmp_path / "run"
    stages.grpo(adapted(tmp_path / "models", dataclasses.replace(LORA, dora=True)), run, init=None, progress=quiet)
    (unbroken,) = hashes(run)
    shutil.rmtree(run / "checkpoints" / "3")
    cfg = presets.read_json(run / "config.json")
    stages.grpo(cfg, run, init=None, resume=True, progress=quiet)
    assert hashes(run) == [unbroken]

    # the base is the published one, bit for bit; adapters of the decoder moved
    whole, mesh = kept(run), mesh_of(run)
    begun = pretrained.initial(cfg, stages.abstract_weights(stages.captioner.declare(cfg), mesh))
    assert same(adapters.plain(whole), begun)
    assert same(adapters.of(whole.encoders), adapters.of(adapters.begin(begun, cfg, mesh).encoders))
    assert all(np.asarray(x).any() for x in jax.tree.leaves(adapters.of(whole.decoder)))

    # merged, and as peft reads it: the same captioner
    cfg, params, tokenizer, _ = captioning.restore(run)
    directory.write(cfg, params, tokenizer, "", tmp_path / "merged")
    cfg, apart, tokenizer, _ = captioning.restore(run, merge=False)
    directory.write(cfg, apart, tokenizer, "", tmp_path / "apart")
    for out in ("merged", "apart"):
        _, again, _, _ = exported.read(tmp_path / out)
        assert same(again, params), out
    decoder = tmp_path / "apart" / "decoder"
    assert not (decoder / "model.safetensors").exists()
    base = json.loads((decoder / "adapter_config.json").read_text())["base_model_name_or_path"]
    published = AutoModelForCausalLM.from_pretrained(base)
    before = logits(published)
    theirs = logits(peft.PeftModel.from_pretrained(published, decoder))
    plain = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "merged" / "decoder"))
    np.testing.assert_allclose(theirs, plain, atol=1e-4 * np.abs(plain).max())
    assert np.abs(plain - before).max() > 0.01, "the adapters hardly change anything"

    # weights that are not the published ones have no adapter of theirs
    moved = apart.replace(decoder=apart.decoder.replace(embed=apart.decoder.embed + 1))
    with pytest.raises(RunError, match=r"decoder: weights beside the adapters differ .* Export it merged"):
        directory.write(cfg, moved, tokenizer, "", tmp_path / "moved")
    model = dataclasses.replace(cfg.model, decoder=dataclasses.replace(cfg.model.decoder, weights=""))
    with pytest.raises(RunError, match=r"decoder was made from nothing"):
        directory.write(dataclasses.replace(cfg, model=model), apart, tokenizer, "", tmp_path / "moved")


@pytest.mark.slow
def test_emo_grpo_goes_on_with_the_cold_starts_adapters_or_merges_others(tmp_path: Path) -> None:
    cfg = adapted(tmp_path / "models")
    stages.sft(cfg, tmp_path / "sft", progress=quiet)
    (unbroken,) = hashes(tmp_path / "sft")
    shutil.rmtree(tmp_path / "sft" / "checkpoints" / "3")
    stages.sft(presets.read_json(tmp_path / "sft" / "config.json"), tmp_path / "sft", resume=True, progress=quiet)
    assert hashes(tmp_path / "sft") == [unbroken]
    learnt = kept(tmp_path / "sft")
    own = presets.read_json(tmp_path / "sft" / "config.json")
    begun = pretrained.initial(own, stages.abstract_weights(stages.captioner.declare(own), mesh_of(tmp_path / "sft")))
    for path in pretrained.backbones(own):
        at = operator.attrgetter(path)
        assert same(adapters.plain(at(learnt)), at(begun)), path
    moved = jax.tree.leaves(adapters.of(learnt))
    assert moved
    assert all(np.asarray(x).any() for x in moved)
    assert not same(learnt.encoders.audio_projector, begun.encoders.audio_projector)

    stages.grpo(cfg, tmp_path / "same", init=tmp_path / "sft", progress=quiet)
    assert same(start(tmp_path / "same"), learnt), "the reference is not the cold start's captioner"
    other = dataclasses.replace(cfg, lora=Lora(("decoder.layers.mlp",), rank=2))
    stages.grpo(other, tmp_path / "other", init=tmp_path / "sft", progress=quiet)
    merged = start(tmp_path / "other")
    assert same(adapters.plain(merged), adapters.merged(learnt))
    zeros = [x for x in jax.tree.leaves(adapters.of(merged)) if not np.asarray(x).any()]
    assert {x.shape[-1] for x in zeros} == {24, 40}, "B is not zero"
    clips = source.split(source.manifest(cfg), "test")[:2]
    for run in ("sft", "same", "other"):
        records = captioning.load(tmp_path / run).records(clips, Decoding(batch_size=2))
        assert all("caption" in record for record in records)
    cfg, apart, tokenizer, _ = captioning.restore(tmp_path / "other", merge=False)
    with pytest.raises(RunError, match="differ from those of"):
        directory.write(cfg, apart, tokenizer, "", tmp_path / "out")


def start(run: Path) -> Tree:
    """What Emo-GRPO began with."""
    cfg = presets.read_json(run / "config.json")
    return stages.checkpoint.restore_tree(run / "start", stages.abstract_weights(adapters.declare(cfg), mesh_of(run)))
