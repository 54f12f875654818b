"""Floating-point operations of a program, counted by hand: XLA's own count takes a loop's body once.

A product of [m k] and [k n] is 2 m k n; norms, softmaxes and other pointwise work are left out. A backward pass is
twice its forward pass, plus the forward again where activations are recomputed.
"""

from emojax.config import Config
from emojax.rewards import RewardStatic


def media(cfg: Config, seconds: float) -> float:
    """Both encoders and their projectors, one clip, forward."""
    d, total = cfg.model.decoder.width, 0.0
    if a := cfg.model.audio:
        frames = round(seconds * 100)
        spectrum = 2 * frames * 201 * a.mels
        stem = 2 * 3 * a.width * (a.mels * frames / 2 + a.width * frames / 4)
        total += spectrum + stem + _transformer(frames // 4, a.width, a.ff, a.layers) + 2 * a.tokens * a.width * d
    if v := cfg.model.video:
        w, side, patches = v.width, cfg.data.frame_size, (cfg.data.frame_size // 8) ** 2
        stem = 2 * 9 * (3 * w / 4 * side**2 / 4 + w / 4 * w / 2 * side**2 / 16 + w / 2 * w * side**2 / 64)
        frame = stem + _transformer(patches, w, v.ff, v.spatial_layers) + 2 * patches * w * w
        across = _transformer(cfg.data.frames, w, v.ff, v.temporal_layers)
        total += cfg.data.frames * frame + across + 2 * v.tokens * w * d
    return total


def _transformer(positions: int, d: int, f: int, layers: int) -> float:
    return layers * positions * (2 * 4 * d * d + 2 * 2 * d * f + 2 * 2 * positions * d)


def decoder(cfg: Config, positions: int, seen: float) -> float:
    """The language model without its head over `positions` tokens that look at `seen` positions each, forward."""
    c = cfg.model.decoder
    projections = 2 * c.width * c.head_width * (2 * c.heads + 2 * c.kv_heads)
    attention = 2 * 2 * seen * c.heads * c.head_width
    return c.layers * positions * (projections + attention + 2 * 3 * c.width * c.ff)


def head(cfg: Config, positions: int) -> float:
    return 2.0 * positions * cfg.model.decoder.width * cfg.model.decoder.vocab


def reward(static: RewardStatic) -> float:
    """Sentence-BERT at the full length that it is given, one caption."""
    if static.kind == "rouge_l":
        return 0.0
    b = static.sentence.bert
    return _transformer(static.sentence.max_tokens, b.width, b.ff, b.layers)


def sft_step(cfg: Config, seconds: float) -> float:
    p, t, b = _prefix(cfg), cfg.caption_tokens, cfg.sft.batch
    forward = media(cfg, seconds) + decoder(cfg, p, p / 2) + decoder(cfg, t, p + t / 2)
    again = forward if cfg.model.remat else 0
    return b * (3 * forward + again + 4 * head(cfg, t))


def grpo_step(cfg: Config, static: RewardStatic, seconds: float) -> float:
    """Media once; prefix in rollout, reference and update; G captions sampled, read twice, scored, learnt from."""
    p, t, b, g = _prefix(cfg), cfg.caption_tokens, cfg.grpo.batch, cfg.grpo.group
    read = decoder(cfg, p, p / 2) + g * decoder(cfg, t, p + t / 2)
    rollout = decoder(cfg, p, p / 2) + g * (decoder(cfg, t, p + t) + head(cfg, t))
    again = read if cfg.model.remat else 0
    update = 3 * read + again + g * (4 + 1) * head(cfg, t)  # the reference's head once beside the policy's
    return b * (media(cfg, seconds) + rollout + g * reward(static) + read + cfg.grpo.updates * update)


def caption_step(cfg: Config, static: RewardStatic, seconds: float, clips: int) -> float:
    p, t = _prefix(cfg), cfg.caption_tokens
    one = media(cfg, seconds) + decoder(cfg, p, p / 2) + decoder(cfg, t, p + t) + head(cfg, t) + reward(static)
    return clips * one


def _prefix(cfg: Config) -> int:
    return sum(e.tokens for e in (cfg.model.audio, cfg.model.video) if e) + cfg.data.transcript_tokens
