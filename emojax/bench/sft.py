"""`emojax bench sft`: one step of the cold start on the work of `torch_sft.py`.

N captions of exactly T tokens after P tokens each; AdamW, clipped gradients. The losses that need media have weight 0.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from emojax.bench import work as bench
from emojax.config import Sft


@dataclass(frozen=True)
class Work(bench.Sizes):
    """The flags of the peer's script."""

    batch: int = 16  # captions per step


def measure(work: Work) -> dict[str, Any]:
    """Runs warm-up and counted steps; the line that is printed."""
    import jax
    import numpy as np

    from emojax import param
    from emojax.decoder import captioner
    from emojax.parallel import sharding
    from emojax.planning import flops
    from emojax.training import freeze
    from emojax.training.program import new_state, sft_program

    cfg = dataclasses.replace(bench.config(work), sft=Sft(batch=work.batch, words_weight=0.0, emotion_weight=0.0))
    program = sft_program(cfg, sharding.make_mesh(cfg, jax.devices()[:1]))
    params = param.init(captioner.declare(cfg), jax.random.key(0))
    trained, frozen = freeze.split(params, cfg.sft.freeze)
    before = np.asarray(params.decoder.embed)
    last = new_state(program, trained), {}

    def run(batch: Any) -> Any:
        nonlocal last
        last = program.step(last[0], frozen, batch, jax.random.key(0))
        return last

    with jax.set_mesh(program.mesh):
        times = bench.timed(work, lambda step: sharding.to_devices(captions(work, step), program.mesh), run)
    state, metrics = last
    moved = float(np.abs(np.asarray(state.params.decoder.embed) - before).max())
    assert moved > 0, "no weight moved"
    return bench.line("emojax.sft_step", work, times, work.batch, flops.sft_flops(cfg, cfg.data.audio_seconds[-1])) | {
        "params_m": round(param.count(captioner.declare(cfg).decoder) / 1e6, 3),
        "weights_moved": moved,
        "loss": round(float(metrics["loss"]), 6),
    }


def captions(work: Work, step: int) -> Any:
    """Prompts and random captions, every token of which counts."""
    import numpy as np

    batch = bench.prompts(work, work.batch, step)
    rng = np.random.default_rng((step, 1))
    ids = rng.integers(bench.WORDS, min(work.vocab, 12_000), batch.caption.shape, dtype=np.int32)
    return dataclasses.replace(batch, caption=ids, caption_mask=np.ones(ids.shape, bool))
