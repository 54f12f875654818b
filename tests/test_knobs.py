"""Every field of a configuration does something: another value changes a program, what a program is given, or what a
run does. What is refused as meaningless beside the others: test_inert.py. A new field without a line here fails."""

import dataclasses
import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from emojax import param
from emojax.config import Config, presets
from emojax.corpus import synthetic
from emojax.decoder import captioner
from emojax.parallel import sharding
from emojax.rewards.part import scorer
from emojax.rewards.parts import emotion
from emojax.rewards.reader import Reader
from emojax.training import adapters, freeze
from emojax.training.optim import make_optimizer
from emojax.training.program import abstract_batches, abstract_references, stage_data, stage_steps
from support import made_up

HERE = Path(__file__).parent
BASE = made_up.config()


def shown(tree: Any) -> str:
    return str(jax.tree.map(lambda x: (x.shape, str(x.dtype)), tree))


def weights(cfg: Config) -> str:
    return shown(param.abstract(captioner.declare(cfg)))


def traced(cfg: Config, stage: str) -> str:
    program = getattr(made_up, stage).__wrapped__(cfg)
    with jax.set_mesh(program.mesh):
        jaxpr = program.step.trace(program.state, program.frozen, program.batch, program.key).jaxpr  # pyright: ignore[reportFunctionMemberAccess]
    return re.sub(r"0x[0-9a-f]+|:\d+", "", str(jaxpr))


def sft(cfg: Config) -> str:
    return traced(cfg, "sft")


def grpo(cfg: Config) -> str:
    return traced(cfg, "grpo")


def dpo(cfg: Config) -> str:
    return traced(cfg, "dpo")


def optimizers(cfg: Config) -> str:
    """Of all stages, on one weight."""
    told = ""
    for stage, about in (("sft", cfg.sft.optimizer), ("grpo", cfg.grpo.optimizer), ("dpo", cfg.dpo.optimizer)):
        weight = {"w": jax.ShapeDtypeStruct((2, 3), np.float32)}
        declared = {"w": param.Param((2, 3), (None, None), param.normal(1.0))}
        optimizer = make_optimizer(about, stage_steps(cfg, stage), declared)
        state = jax.eval_shape(optimizer.init, weight)
        with jax.numpy_dtype_promotion("standard"):
            told += str(jax.make_jaxpr(optimizer.update)(weight, state, weight))
    return told


def batches(cfg: Config) -> str:
    pairs = dataclasses.replace(cfg, data=stage_data(cfg, "dpo"))
    stages = ((cfg, cfg.sft.batch), (cfg, cfg.grpo.rolled), (pairs, cfg.dpo.batch))
    return shown([abstract_batches(made, clips) for made, clips in stages])


def frozen(cfg: Config) -> str:
    trained, kept = freeze.split(adapters.declare(cfg), cfg.sft.freeze)
    learnt = [freeze.split_policy(adapters.declare(cfg), of)[0] for of in (cfg.grpo, cfg.dpo)]
    return shown((param.abstract(trained), freeze.kept(param.abstract(kept), cfg), param.abstract(learnt)))


def corpus(cfg: Config) -> str:
    return str([sorted(record.items()) for record in synthetic.describe(cfg.data.corpus)])


class Embedded(Reader):
    """Texts have embeddings without a model."""

    def phrases(self, texts: Any) -> np.ndarray:
        return np.stack([np.random.default_rng([*text.encode()]).normal(size=8) for text in texts])


def reward(cfg: Config) -> str:
    """What the parts look up, and what is read of clips."""
    parts = tuple(scorer(written, cfg.reward) for written in (*cfg.reward.parts, "label*0", "overlong(limit=9,soft=3)"))
    static = made_up.reward_model(BASE)[1]
    sentence = dataclasses.replace(static.sentence, max_tokens=cfg.reward.max_tokens)
    reader = Embedded(cfg.reward, parts, None, cfg.model.decoder.end_token, sentence=sentence)
    told = [part.called("arrays", reader) for part in parts if part.part.name in ("facts", "label")]
    told.append(emotion.arrays(emotion.Options(), reader))
    static = dataclasses.replace(static, parts=parts, max_bytes=cfg.reward.max_bytes, sentence=sentence)
    shapes = shown(abstract_references(cfg, static))
    return str(jax.tree.map(lambda x: np.asarray(x).tolist(), told)) + shapes + str((parts, static.max_bytes))


def meshes(cfg: Config) -> str:
    return str(sharding.make_mesh(cfg, jax.devices()).shape)


WALK: dict[str, tuple[str, Callable[[Config], str] | str]] = {  # field: another value, and what it changes
    **{f"model.audio.{name}": (value, weights) for name, value in {"mels": "12", "width": "48", "layers": "1"}.items()},
    **{f"model.audio.{name}": (value, weights) for name, value in {"ff": "20"}.items()},
    **{f"model.audio.{name}": ("2", sft) for name in ("tokens", "heads")},
    "model.audio.weights": ("DIR", "test_pretrained.py::test_from_published_directories_to_an_exported_captioner"),
    "model.audio.family": ("none", weights),
    **{f"model.video.{name}": (value, weights) for name, value in {"width": "48", "spatial_layers": "3"}.items()},
    **{f"model.video.{name}": (value, weights) for name, value in {"temporal_layers": "3", "ff": "20"}.items()},
    "model.video.tokens": ("1", sft),
    "model.video.heads": ("2", sft),
    "model.video.weights": ("DIR", "test_pretrained.py::test_from_published_directories_to_an_exported_captioner"),
    "model.video.family": ("none", weights),
    "model.audio_projector.family": ("MlpProjector", weights),
    "model.video_projector.family": ("QFormer", weights),
    "model.fusion.family": ("PreFusion", weights),
    "model.fusion": ("none", "test_projectors.py"),
    **{
        f"model.decoder.{name}": (value, weights) for name, value in {"vocab": "50", "padding": "2", "ff": "20"}.items()
    },
    **{
        f"model.decoder.{name}": (value, weights)
        for name, value in {"width": "48", "layers": "1", "heads": "4"}.items()
    },
    **{f"model.decoder.{name}": (value, weights) for name, value in {"kv_heads": "3", "head_width": "4"}.items()},
    **{f"model.decoder.{name}": ("true", weights) for name in ("o_bias", "mlp_bias", "qk_norm")},
    **{f"model.decoder.{name}": ("false", weights) for name in ("qkv_bias", "tie")},
    **{f"model.decoder.{name}": (value, sft) for name, value in {"activation": "gelu", "rope_theta": "5"}.items()},
    **{f"model.decoder.{name}": (value, sft) for name, value in {"window": "3", "norm_eps": "0.1"}.items()},
    "model.decoder.rope_scaling": ("none", "test_decoder_families.py"),
    "model.decoder.positions": (
        "9",
        "test_stage_checks.py::test_nothing_is_trained_where_the_second_stage_could_not_be",
    ),
    "model.decoder.window_from": ("1", sft),
    **{f"model.decoder.{name}": ("7", grpo) for name in ("start_token", "end_token")},
    "model.decoder.weights": ("DIR", "test_pretrained.py::test_from_published_directories_to_an_exported_captioner"),
    "model.decoder.family": ("Gpt2", weights),
    "model.remat": ("true", sft),
    "reward.parts": ("label", reward),
    "reward.model": ("DIR", "test_sentence.py::test_where_a_model_is_looked_for"),
    "reward.sizes": ("none", "test_shapes_only.py::test_without_sizes_the_reward_model_must_be_there"),
    "reward.sizes.family": ("Bert", "test_shapes_only.py::test_a_program_compiles_without_any_file"),
    "reward.coordinates": ("orthonormal", reward),
    "reward.center": ("false", reward),
    "reward.concepts": ("", "test_facts.py::test_a_value_without_words_is_refused"),
    "reward.attributes": ("", "test_facts.py::test_a_value_without_words_is_refused"),
    "reward.templates": ("a {} man", reward),
    **{f"reward.{name}": ("30", reward) for name in ("max_bytes", "max_tokens")},
    "sft.batch": ("4", batches),
    "sft.micro_batch": ("4", sft),
    **{f"{stage}.freeze": ("decoder.embed", frozen) for stage in ("sft", "grpo", "dpo")},
    **{f"{stage}.train": ("encoders.audio", frozen) for stage in ("grpo", "dpo")},
    **{
        f"{name}_dropout": ("0.1", "test_views.py::test_every_subset_comes_as_often_as_said")
        for name in ("sft.stream", "sft.media", "sft.transcript", "grpo.stream", "grpo.transcript")
    },
    **{f"sft.{name}": ("0.3", sft) for name in ("words_weight", "emotion_weight")},
    "grpo.batch": ("4", batches),
    **{f"grpo.{name}": (value, grpo) for name, value in {"micro_batch": "4", "group": "3", "updates": "2"}.items()},
    **{f"grpo.{name}": (value, grpo) for name, value in {"beta": "0.1", "loss": "dapo", "scale": "none"}.items()},
    **{f"grpo.{name}": ("0.1", grpo) for name in ("clip_low", "clip_high")},
    "grpo.clip_dual": ("2", grpo),
    "grpo.mask_truncated": ("true", grpo),
    **{f"grpo.{name}": (value, grpo) for name, value in {"baseline": "greedy", "deviation": "sample"}.items()},
    **{f"grpo.{name}": (value, grpo) for name, value in {"uncertain": "0.5", "entropy_weight": "0.1"}.items()},
    **{f"grpo.{name}": (value, grpo) for name, value in {"kl": "k2", "kl_in": "reward"}.items()},
    **{f"grpo.{name}": (value, grpo) for name, value in {"kl_gradient": "true", "kl_clamp": "1"}.items()},
    **{f"grpo.{name}": ("0.5", grpo) for name in ("kl_target", "entropy_target", "reference_share")},
    "grpo.reference_every": ("3", grpo),
    "grpo.oversample": ("2", batches),
    **{f"grpo.{name}": ("4", grpo) for name in ("rollout_batch", "mini_batch")},
    **{f"grpo.sampling.{name}": (value, grpo) for name, value in {"temperature": "0.7", "top_k": "5"}.items()},
    **{f"grpo.sampling.{name}": (value, grpo) for name, value in {"top_p": "0.7", "min_p": "0.1"}.items()},
    "grpo.sampling.repetition_penalty": ("1.5", grpo),
    "grpo.temperature_last": ("0.5", grpo),
    "grpo.samples": ("RUN", "test_replayed.py::test_the_step_reads_captions_where_they_are_asked_for"),
    "dpo.pairs": ("FILE", "test_pairs_of_captions.py::test_of_a_file_a_line_a_pair"),
    "dpo.margin": ("0.1", "test_pairs_of_captions.py::test_of_a_run_the_best_sample_of_a_group_against_its_worst"),
    **{f"dpo.{name}": (value, batches) for name, value in {"rejected": "2", "batch": "4"}.items()},
    **{f"dpo.{name}": (value, dpo) for name, value in {"micro_batch": "4", "loss": "hinge", "beta": "0.3"}.items()},
    **{f"dpo.{name}": ("0.2", dpo) for name in ("label_smoothing", "text_prior")},
    **{
        f"{stage}.optimizer.{name}": (value, optimizers)
        for stage in ("sft", "grpo", "dpo")
        for name, value in {
            "learning_rate": "0.5",
            "warmup": "0.5",
            "weight_decay": "0.3",
            "b1": "0.7",
            "b2": "0.7",
            "epsilon": "0.1",
            "clip": "0.3",
            "kind": "lion",
            "schedule": "linear",
            "decay": "0.5",
            "final": "0",
        }.items()
    },
    "lora.targets": ("decoder.layers.mlp.*", frozen),
    "lora.rank": ("2", frozen),
    "lora.alpha": ("3", sft),
    "lora.dora": ("true", frozen),
    **{f"mesh.{name}": ("2", meshes) for name in ("data", "fsdp", "model")},
    "name": ("x", "test_executable.py::test_another_program_is_refused_before_the_first_step"),
    "seed": ("1", "test_views.py::test_noise_is_named_by_seed_batch_and_clip"),
    "noise_seed": ("1", "test_replayed.py::test_noise_has_a_seed_of_its_own"),
    "perturb": ("1", "test_doctests.py"),
    "data.corpus.seed": ("1", corpus),
    "sft.attributes_weight": ("0.3", "test_gradient.py"),
    "precision": ("bfloat16", sft),
    "frozen_precision": ("bfloat16", frozen),
    **dict.fromkeys(("steps", "sft_steps"), ("7", optimizers)),
    "checkpoint_every": ("1", "test_checkpoints.py::test_the_last_and_the_best_are_kept_and_can_be_asked_for"),
    "checkpoint_minutes": (
        "1",
        "test_stop.py::test_checkpoints_by_the_clock_are_written_beside_those_by_steps_and_change_no_number",
    ),
    "keep": ("1", "test_checkpoints.py::test_the_last_and_the_best_are_kept_and_can_be_asked_for"),
    "keep_best": ("1", "test_checkpoints.py::test_the_last_and_the_best_are_kept_and_can_be_asked_for"),
    "keep_best_by": ("loss", "test_held_out.py::test_it_is_in_the_log_and_the_best_step_by_it_is_kept"),
    "eval_every": ("2", "test_held_out.py::test_it_is_in_the_log_and_the_best_step_by_it_is_kept"),
    "eval_clips": ("8", "test_held_out.py::test_a_run_evaluates_its_held_out_clips"),
    "patience": ("2", "test_held_out.py::test_a_stage_ends_where_nothing_improves_and_a_resumed_one_knows"),
    "sample_every": ("1", "test_full_disk.py"),
    "max_skipped": ("1", "test_loop.py::test_a_run_that_diverged_names_the_last_state_that_trained_and_ends_there"),
    "caption_tokens": ("7", batches),
    "data.manifest": ("FILE", "test_cli.py::test_a_run_is_refused_resumed_or_replaced"),
    **{f"data.corpus.{name}": ("60", corpus) for name in ("clips", "speakers")},
    "data.corpus.seconds": ("3", "test_corpus.py"),
    **{f"data.corpus.{name}": ("30", "test_corpus.py") for name in ("frame_size", "fps")},
    "data.features": ("DIR", "test_from_features.py::test_twenty_steps_of_grpo_are_equal"),
    **{f"data.{name}": ("2", batches) for name in ("audio_seconds", "frames", "transcript_tokens")},
    "data.targets": ("3", batches),
    "data.frame_size": ("24", batches),
    "data.frame_resize": ("32", "test_frames.py::test_the_configuration_decides_how_clips_are_loaded"),
    "data.frame_filter": ("bicubic", "test_frames.py::test_the_configuration_decides_how_clips_are_loaded"),
    "data.references": ("3", reward),
    "data.workers": ("2", "test_batches.py::test_workers_change_nothing"),
    "data.cache_gb": ("0", "test_batches.py"),
    "data.strict": ("true", "test_batches.py::test_strict_stops_at_a_broken_clip_and_names_it"),
}
BESIDE = {  # what a field needs to do something
    "model.decoder.window_from": ["window=3"],
    **{f"grpo.clip_{name}": ["grpo.updates=2"] for name in ("low", "high", "dual")},
    "grpo.entropy_target": ["grpo.entropy_weight=0.1"],
    "grpo.reference_share": ["grpo.reference_every=2"],
    **{f"{stage}.optimizer.decay": [f"{stage}.optimizer.schedule=wsd"] for stage in ("sft", "grpo", "dpo")},
    "dpo.label_smoothing": ["dpo.loss=robust"],
    "lora.rank": ["lora.targets=decoder.layers.mlp.*"],
    "lora.alpha": ["lora.targets=decoder.layers.mlp.*"],
    "lora.dora": ["lora.targets=decoder.layers.mlp.*"],
    "frozen_precision": ["sft.freeze=encoders"],
}


def fields() -> list[str]:
    everything = presets.override(BASE, ["model.fusion.family=PreFusion"])
    inside = {"model.fusion.tokens", "model.fusion.heads"} & set(presets._paths(everything))
    return sorted(set(presets._paths(BASE)) - inside)


def test_every_field_is_walked_and_nothing_else() -> None:
    assert sorted(WALK) == fields()


@pytest.mark.parametrize("told", sorted({told for _, told in WALK.values() if isinstance(told, str)}))
def test_what_shows_the_others_is_there(told: str) -> None:
    file, _, name = told.partition("::")
    assert f"def {name}(" in (HERE / file).read_text() if name else (HERE / file).exists()


SLOW = (sft, grpo, dpo)
SHOWN = {path: (value, what) for path, (value, what) in WALK.items() if callable(what)}


@pytest.mark.parametrize(
    "path", [pytest.param(path, marks=[pytest.mark.slow] * (SHOWN[path][1] in SLOW)) for path in SHOWN]
)
def test_another_value_changes_something(path: str) -> None:
    value, what = SHOWN[path]
    before = presets.override(BASE, BESIDE.get(path, []))
    after = presets.override(before, [f"{path}={value}"])
    assert after != before
    assert what(after) != told_of(what, before)


@functools.cache
def told_of(what: Callable[[Config], str], cfg: Config) -> str:
    return what(cfg)
