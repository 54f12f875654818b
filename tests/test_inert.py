"""A setting that would do nothing beside the others is refused and named, and so is what nobody can mean."""

import pytest

from emojax.config import ConfigError, inert, presets

REFUSED = {  # a value of what does nothing, and what it does nothing beside, where a preset has that otherwise
    "lora.rank": ("4", ""),
    "lora.alpha": ("4", ""),
    "lora.dora": ("true", ""),
    "grpo.clip_low": ("0.1", ""),
    "grpo.clip_high": ("0.3", ""),
    "grpo.clip_dual": ("2", "grpo.loss=cispo"),
    "grpo.kl": ("k2", "grpo.beta=0"),
    "grpo.kl_in": ("reward", "grpo.beta=0"),
    "grpo.kl_gradient": ("true", "grpo.kl=k2"),
    "grpo.kl_clamp": ("1", "grpo.beta=0"),
    "grpo.kl_target": ("1", "grpo.beta=0"),
    "grpo.reference_every": ("2", "grpo.beta=0"),
    "grpo.reference_share": ("0.5", ""),
    "grpo.entropy_target": ("1", ""),
    "grpo.deviation": ("sample", "grpo.scale=none"),
    "grpo.temperature_last": ("1.0", ""),
    "dpo.label_smoothing": ("0.1", ""),
    "dpo.text_prior": ("0.2", "dpo.loss=ipo"),
    "dpo.margin": ("0.1", ""),
    "data.frame_resize": ("64", "model.video.family=none"),
    "data.frame_filter": ("bicubic", "model.video.family=none"),
    "model.decoder.window_from": ("1", ""),
    **{f"sft.{name}_weight": ("0.5", "audio.family=none,video.family=none") for name in ("words", "emotion")},
    "sft.attributes_weight": ("0.5", ""),
    **{f"data.corpus.{name}": ("30", "data.manifest=FILE") for name in ("clips", "speakers", "frame_size", "fps")},
    **{f"data.corpus.{name}": ("3", "data.manifest=FILE") for name in ("seconds", "seed")},
    "eval_clips": ("8", ""),
    "patience": ("2", ""),
}
for stage in ("sft", "grpo", "dpo"):
    REFUSED |= {f"{stage}.optimizer.{name}": ("0.5", f"{stage}.optimizer.kind=adafactor") for name in ("b1", "b2")}
    REFUSED |= {f"{stage}.optimizer.epsilon": ("0.5", f"{stage}.optimizer.kind=lion")}
    REFUSED |= {
        f"{stage}.optimizer.decay": ("0.5", ""),
        f"{stage}.optimizer.final": ("0.5", f"{stage}.optimizer.schedule=constant"),
    }


@pytest.mark.parametrize("path", sorted({p for each in (*inert.INERT, inert.CORPUS) for p in each.fields}))
def test_what_would_do_nothing_is_refused_and_named(path: str) -> None:
    value, beside = REFUSED[path]
    with pytest.raises(ConfigError, match=rf"^{path}=.* does nothing with [a-z.]+"):
        presets.load("tiny", [*filter(None, beside.split(",")), f"{path}={value}"])


def test_of_a_saved_configuration_only_what_is_asked_for_is_refused() -> None:
    """A run goes on with what it has, and so does what begins with its captioner."""
    saved = presets.override(presets.load("tiny"), ["grpo.clip_low=0.1", "data.manifest=FILE"])
    assert presets.changed(saved, ["seed=1"]).seed == 1
    for path, value in (("grpo.clip_high", "0.3"), ("data.corpus.clips", "60")):
        with pytest.raises(ConfigError, match=rf"^{path}=.* does nothing with"):
            presets.changed(saved, [f"{path}={value}"])
    with pytest.raises(ConfigError, match="reinforce has no ratio"):
        presets.changed(saved, ["grpo.loss=reinforce", "grpo.updates=2"])


@pytest.mark.parametrize(
    "together",
    [
        ["grpo.loss=reinforce", "grpo.updates=2"],
        ["grpo.loss=reinforce", "grpo.mini_batch=4"],
        ["grpo.baseline=greedy", "grpo.scale=parts"],
        ["grpo.kl=k1"],
    ],
)
def test_what_nobody_can_mean_is_refused_with_what_to_take(together: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"take|wants"):
        presets.load("tiny", together)
