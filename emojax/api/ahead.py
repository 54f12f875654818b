"""How much each part of a whole job has to do, by operations counted by hand: for an estimate of the time left."""

import itertools
import math
from collections.abc import Mapping, Sequence

from emojax import rewards
from emojax.api import subsets
from emojax.config import Config
from emojax.data.clips import Clip
from emojax.planning import flops
from emojax.training.program import stage_steps


def after(work: Mapping[str, float]) -> dict[str, float]:
    """Of each part the work that comes after it, as a multiple of its own; inf: it has none.

    >>> after({"a": 4.0, "b": 1.0, "c": 1.0})
    {'a': 0.5, 'b': 1.0, 'c': 0.0}
    """
    sums = list(itertools.accumulate(reversed([*work.values()]), initial=0.0))[-2::-1]
    return {name: later / own if own else math.inf for (name, own), later in zip(work.items(), sums, strict=True)}


def work_of(cfg: Config, clips: Sequence[Clip], ablate: bool) -> dict[str, float]:
    """Operations of the parts of a whole job, in their order, by the titles of their bars.

    The floors read the media of all clips, which is decoding alone: it counts as encoding does.

    Args:
      cfg: with the sizes of its pretrained parts. clips: of all splits. ablate: as of `experiment.report`.
    """
    seconds, static = cfg.data.audio_seconds[-1], rewards.static_of(cfg.reward, cfg.model.decoder.end_token)
    training, test = (sum(clip.split == split for clip in clips) for split in ("train", "test"))
    clip = flops.caption_phases(cfg, static, seconds, 1)
    caption = test * (clip["encode"] + clip["decode"])
    probed = (min(training, subsets.PROBED) + test) * clip["encode"]
    return {
        "cold start": stage_steps(cfg, "sft") * flops.sft_flops(cfg, seconds),
        "Emo-GRPO": stage_steps(cfg, "grpo") * flops.grpo_flops(cfg, static, seconds),
        "captions sft": caption,
        "captions grpo": caption + ablate * (len(subsets.HIDDEN) * caption + probed),
        "evaluation": (training + test) * clip["encode"] + 4 * test * clip["reward"],
    }
