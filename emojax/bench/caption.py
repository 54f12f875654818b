"""`emojax bench caption`: greedy captions on the work of `hf_generate.py`: N of T tokens each, after P tokens each."""

import functools
from dataclasses import dataclass
from typing import Any

from emojax.bench import work as bench


@dataclass(frozen=True)
class Work(bench.Sizes):
    """The flags of the peer's script."""

    batch: int = 16  # captions per call
    steps: int = 15  # counted calls, after the warm-up


def measure(work: Work) -> dict[str, Any]:
    """Runs warm-up and counted calls; the line that is printed."""
    import jax
    import numpy as np

    from emojax import param
    from emojax.captioning.captioner import caption_step
    from emojax.decoder import captioner
    from emojax.parallel import sharding
    from emojax.planning import flops

    cfg = bench.config(work)
    mesh = sharding.make_mesh(cfg, jax.devices()[:1])
    declared = captioner.declare(cfg)
    params = jax.device_put(param.init(declared, jax.random.key(0)), sharding.replicated(mesh))
    program = jax.jit(functools.partial(caption_step, cfg=cfg, static=None, samples=1, sampling=None))

    def run(batch: Any) -> Any:
        found = program(params, None, batch, jax.random.key(0))
        assert np.asarray(found.mask).all(), "a caption ended before its length"
        return found

    with jax.set_mesh(mesh):
        times = bench.timed(work, lambda step: sharding.to_devices(bench.prompts(work, work.batch, step), mesh), run)
    operations = sum(flops.caption_phases(cfg, None, cfg.data.audio_seconds[-1], work.batch).values())
    return bench.line("emojax.caption_step", work, times, work.batch, operations) | {
        "params_m": round(param.count(declared.decoder) / 1e6, 3)
    }
