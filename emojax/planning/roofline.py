"""How long a step takes at least: by its operations, by the memory it reads, by what devices send each other.

The roofline model (Williams, Waterman and Patterson, 2009): of the three the longest, each at its peak, for the loop
that writes captions and for all else. It is a bound with an assumed utilisation, not a measurement.
"""

from collections.abc import Sequence
from typing import Any

from emojax.config import Config, LlamaConfig, media_positions
from emojax.parallel.chips import Chip
from emojax.planning.collectives import Collective
from emojax.planning.programs import PlannedProgram

UTILISATION = 0.4  # of the peak of operations, outside the decoding loop and in it
PASSES = 6  # of bfloat16 products that a product of float32 takes on a TPU (jax.lax.Precision.HIGHEST)


def estimate(
    cfg: Config, chip: Chip, lowered: PlannedProgram, decoder_weights: int, touched: int, found: Sequence[Collective]
) -> dict[str, Any]:
    """Seconds of a step, by phase: "decode", the loop that writes captions, where there is one, and "other".

    Args:
      decoder_weights: how many.
      touched: bytes of a device that all but the loop reads or writes at least once.
      found: the collectives of the compiled program.
    """
    mesh, captions = lowered.mesh.shape, lowered.captions
    rows = mesh["data"] * mesh["fsdp"]
    slower = PASSES if cfg.precision == "float32" else 1
    speed = UTILISATION * chip.operations / chip.devices / slower * lowered.mesh.size
    bandwidth = chip.bandwidth / chip.devices
    number = 4 if cfg.precision == "float32" else 2
    seen = (media_positions(cfg.model) + cfg.data.transcript_tokens) * lowered.clips + cfg.caption_tokens * captions
    token = (decoder_weights / mesh["model"] + seen / rows * _cache_numbers(cfg)) * number / bandwidth
    decode = lowered.operations.get("decode", 0.0)
    other = sum(lowered.operations.values()) - decode
    phases = {"other": _phase(other / speed, touched / bandwidth, chip, found, False)}
    if captions:
        phases["decode"] = _phase(decode / speed, cfg.caption_tokens * token, chip, found, True)
    return {
        "step_seconds": sum(phase["seconds"] for phase in phases.values()),
        "phases": phases,
        "assumed": [
            f"{100 * UTILISATION:.0f} % of {chip.operations / 1e12:.0f} bfloat16 TFLOP/s a chip"
            + (f", {PASSES} products for each of float32" if slower > 1 else ""),
            f"memory at {chip.bandwidth / 1e9:.0f} GB/s a chip; every caption of {cfg.caption_tokens} tokens, and for "
            "each token all of the decoder's weights and keys and values are read",
            f"{chip.ici / 1e9:.0f} GB/s between chips, {chip.dcn / 1e9:.3g} GB/s between slices; operations, memory "
            "and network overlap wholly",
        ],
    }


def _phase(
    operations: float, memory: float, chip: Chip, found: Sequence[Collective], decoding: bool
) -> dict[str, float]:
    here = [one for one in found if (one.times.bounded or one.times.unknown) == decoding]
    network = {
        name: sum(one.sent * one.times.count for one in here if one.slices == slices) / (speed / chip.devices)
        for name, slices, speed in (("ici", False, chip.ici), ("dcn", True, chip.dcn))
    }
    seconds = {"operations": operations, "memory": memory, **network}
    return {**seconds, "seconds": max(seconds.values())}


def _cache_numbers(cfg: Config) -> int:
    """Keys and values of a position."""
    lm = cfg.model.decoder
    return 2 * lm.layers * (lm.kv_heads * lm.head_width if isinstance(lm, LlamaConfig) else lm.width)
