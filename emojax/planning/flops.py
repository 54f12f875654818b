"""Floating-point operations of a program, counted by hand: XLA's own count takes a loop's body once.

A product of [m k] and [k n] is 2 m k n; norms, softmaxes and other pointwise work are left out. A backward pass is
twice its forward pass, plus the forward again where activations are recomputed; a part that has adapters needs no
gradient of its own weights. An encoder's adapters are counted as if all its operations were those of linear maps.
"""

import jax

from emojax import param
from emojax.config import (
    BartConfig,
    Config,
    FeatureFilesConfig,
    FrameEncoderConfig,
    Gpt2Config,
    LinearProjectorConfig,
    LlamaConfig,
    MelEncoderConfig,
    MlpProjectorConfig,
    ProjectorConfig,
    QFormerConfig,
    VideoMaeConfig,
    VitConfig,
    Wav2Vec2Config,
    WhisperConfig,
    media_positions,
)
from emojax.encoders import features
from emojax.nn.adapter import Adapted
from emojax.nn.layers import Linear
from emojax.rewards import RewardStatic
from emojax.rewards.modules import Dense
from emojax.training import adapters
from emojax.training.freeze import matches


def audio(cfg: Config, seconds: float) -> float:
    """The audio encoder, where the program has it, one clip, forward."""
    total = 0.0
    match None if features.in_batch(cfg, "audio") else cfg.model.audio:
        case MelEncoderConfig() as a:
            frames = round(seconds * 100)
            stem = 2 * 3 * a.width * (a.mels * frames / 2 + a.width * frames / 4)
            total = _spectrum(frames, a.mels) + stem + _transformer(frames // 4, a.width, a.ff, a.layers)
        case Wav2Vec2Config() as a:
            total, n, inputs = 0.0, round(seconds * 16_000), 1
            for width, kernel, stride in zip(a.conv_width, a.conv_kernel, a.conv_stride, strict=True):
                n = (n - kernel) // stride + 1
                total += 2.0 * n * kernel * inputs * width
                inputs = width
            positions = 2 * n * a.position_layers * a.position_kernel * a.width * (a.width // a.position_groups)
            total += 2 * n * inputs * a.width + positions + _transformer(n, a.width, a.ff, _read_layers(a))
        case WhisperConfig() as a:
            stem = 2 * 3 * a.width * (2 * a.positions * a.mels + a.positions * a.width)
            layers = _transformer(a.positions, a.width, a.ff, _read_layers(a))
            total = _spectrum(2 * a.positions, a.mels) + stem + layers
    return total


def video(cfg: Config) -> float:
    """The video encoder, likewise."""
    total = 0.0
    match None if features.in_batch(cfg, "video") else cfg.model.video:
        case FrameEncoderConfig() as v:
            w, side, patches = v.width, cfg.data.frame_size, (cfg.data.frame_size // 8) ** 2
            stem = 2 * 9 * (3 * w / 4 * side**2 / 4 + w / 4 * w / 2 * side**2 / 16 + w / 2 * w * side**2 / 64)
            frame = stem + _transformer(patches, w, v.ff, v.spatial_layers) + 2 * patches * w * w
            total = cfg.data.frames * frame + _transformer(cfg.data.frames, w, v.ff, v.temporal_layers)
        case VitConfig() as v:
            patches = (v.image_size // v.patch) ** 2
            embed = 2 * patches * 3 * v.patch**2 * v.width
            ff = v.ff * 3 / 2 if v.swiglu else v.ff
            tokens = v.registers + (v.kind != "siglip")
            pool = 2 * 3 * patches * v.width**2 if v.kind == "siglip" else 0
            total = cfg.data.frames * (embed + pool + _transformer(patches + tokens, v.width, ff, v.layers))
        case VideoMaeConfig() as v:
            tubes = v.frames // v.tubelet * (v.image_size // v.patch) ** 2
            embed = 2 * tubes * 3 * v.tubelet * v.patch**2 * v.width
            total = embed + _transformer(tubes, v.width, v.ff, v.layers)
    return total


def projector(cfg: Config, stream: str, seconds: float) -> float:
    """That of the stream ("audio", "video"), one clip, forward."""
    encoder, d = getattr(cfg.model, stream), cfg.model.decoder.width
    kind: ProjectorConfig = getattr(cfg.model, f"{stream}_projector")
    if encoder is None:
        return 0.0
    match kind:
        case LinearProjectorConfig():
            return 2 * encoder.tokens * encoder.width * d
        case MlpProjectorConfig():
            return 2 * encoder.tokens * (encoder.width * d + d * d)
        case QFormerConfig() as q:
            s = _frames(cfg, stream, seconds)
            ends = 2 * 2 * q.queries * q.width**2 + 2 * 2 * s * encoder.width * q.width  # queries, out; keys, values
            cross = ends + 2 * 2 * q.queries * s * q.width
            layers = _transformer(q.queries, q.width, q.ff, q.layers) + q.layers // q.cross_every * cross
            return layers + 2 * q.queries * q.width * d


def fusion(cfg: Config) -> float:
    """What makes common positions of both streams, one clip, forward."""
    f, audio, video, d = cfg.model.fusion, cfg.model.audio, cfg.model.video, cfg.model.decoder.width
    if f is None or audio is None or video is None:
        return 0.0
    streams = (audio.width + video.width) * f.ff + 2 * f.ff * f.width
    weights = 2 * f.width * f.ff + f.ff * f.width + 2 * f.width + 2 * f.width  # and the sum that they weigh
    local = 2 * f.width**2 + f.convolutions * 3 * f.width**2
    return 2 * f.tokens * (streams + weights + local + f.width * d)


def _frames(cfg: Config, stream: str, seconds: float) -> int:
    """Frames that a projector reads of a clip."""
    match getattr(cfg.model, stream):
        case MelEncoderConfig():
            return round(seconds * 100) // 4
        case Wav2Vec2Config() as a:
            n = round(seconds * 16_000)
            for kernel, stride in zip(a.conv_kernel, a.conv_stride, strict=True):
                n = (n - kernel) // stride + 1
            return n
        case WhisperConfig() as a:
            return a.positions
        case VideoMaeConfig() as v:
            return v.frames // v.tubelet
        case FeatureFilesConfig() as f:
            return f.positions
    return cfg.data.frames


def _spectrum(frames: int, mels: int) -> float:
    return 2.0 * frames * 201 * mels


def _read_layers(sizes: Wav2Vec2Config | WhisperConfig) -> int:
    """Layers below the hidden state that is read."""
    return sizes.layers if sizes.layer is None else sizes.layer % (sizes.layers + 1)


def _transformer(positions: int, d: int, f: float, layers: int) -> float:
    return layers * positions * (2 * 4 * d * d + 2 * 2 * d * f + 2 * 2 * positions * d)


def prefix(cfg: Config, p: int) -> float:
    """The decoder over a prefix of `p` positions, forward: all that is done once per clip."""
    c = cfg.model.decoder
    if isinstance(c, BartConfig):
        return _transformer(p, c.width, c.encoder_ff, c.encoder_layers) + c.layers * p * 2 * 2 * c.width**2
    return _causal(c, p, p / 2)


def caption(cfg: Config, t: int, p: int, own: float) -> float:
    """The decoder without its head over `t` tokens that look at `p` positions of a prefix and `own` of a caption."""
    c = cfg.model.decoder
    if isinstance(c, BartConfig):
        projections, feed_forward = 2 * 6 * c.width**2, 2 * 2 * c.width * c.ff  # 4 of its own, 2 towards the prefix
        return c.layers * t * (projections + feed_forward + 2 * 2 * (p + own) * c.width)
    return _causal(c, t, p + own)


def _causal(c: LlamaConfig | Gpt2Config, positions: int, seen: float) -> float:
    """`positions` tokens that look at `seen` positions each."""
    if isinstance(c, Gpt2Config):
        return c.layers * positions * (2 * 4 * c.width**2 + 2 * 2 * c.width * c.ff + 2 * 2 * seen * c.width)
    projections = 2 * c.width * c.head_width * (2 * c.heads + 2 * c.kv_heads)
    attention = 2 * 2 * seen * c.heads * c.head_width
    return c.layers * positions * (projections + attention + 2 * 3 * c.width * c.ff)


def head(cfg: Config, positions: int) -> float:
    return 2.0 * positions * cfg.model.decoder.width * cfg.model.decoder.vocab


def reward(static: RewardStatic | None) -> float:
    """Sentence-BERT at the full length that it is given, one caption; None: a reward that is not ours, or none."""
    if static is None:
        return 0.0
    cfg = static.sentence
    if cfg is None or "embedding" not in static.needs:
        return 0.0
    dense = sum(2 * step.inputs * step.width for step in cfg.head if isinstance(step, Dense))
    if isinstance(cfg.encoder, LlamaConfig):
        return _causal(cfg.encoder, cfg.max_tokens, cfg.max_tokens / 2) + dense
    return _transformer(cfg.max_tokens, cfg.encoder.width, cfg.encoder.ff, cfg.encoder.layers) + dense


def sft_flops(cfg: Config, seconds: float) -> float:
    """A backward pass ends at an encoder that is frozen."""
    p, t, b = _prefix(cfg), cfg.caption_tokens, cfg.sft.batch
    media = 0.0
    for part, forward in _parts(cfg, seconds).items():
        backbone = f"{part}.backbone" if part == "encoders.audio" else part
        frozen = any(matches(backbone, pattern) for pattern in cfg.sft.freeze) and not _share(cfg, part)
        media += forward if frozen else _learnt(cfg, part, forward, forward)
    read = prefix(cfg, p) + caption(cfg, t, p, t / 2)
    return b * (media + _learnt(cfg, "decoder", read, _maps(cfg, p, t)) + (2 + _whole(cfg)) * head(cfg, t))


def grpo_flops(cfg: Config, static: RewardStatic | None, seconds: float) -> float:
    """Media once; prefix in rollout, reference and update; G captions sampled, read twice, scored, learnt from."""
    return sum(grpo_phases(cfg, static, seconds).values())


def grpo_phases(cfg: Config, static: RewardStatic | None, seconds: float) -> dict[str, float]:
    """Operations of a step in the order in which it is done; "decode" is what the loop over a caption's tokens does."""
    p, t, g, grpo = _prefix(cfg), cfg.caption_tokens, cfg.grpo.group, cfg.grpo
    read, maps, written = prefix(cfg, p) + g * caption(cfg, t, p, t / 2), _maps(cfg, p, g * t), grpo.captions
    # loss and gradient in one pass: the head forward, towards the hidden states, and towards its own weights
    update = _learnt(cfg, "decoder", read, maps) + g * (2 + _whole(cfg)) * head(cfg, t)
    adapted = _share(cfg, "decoder") * maps  # in the rollout, and in the reference
    forward = read + adapted + g * head(cfg, t)
    again = grpo.updates if grpo.kl == "exact" and grpo.off_policy and grpo.kl_in == "loss" else 0
    reference = forward * (1 + again) if grpo.beta else 0.0
    return {
        "encode": grpo.rolled * (_media(cfg, seconds) + prefix(cfg, p)),
        "decode": grpo.rolled * (written * (caption(cfg, t, p, t) + head(cfg, t)) + adapted),
        "reward": grpo.rolled * written * reward(static),
        "update": grpo.batch * (reference + grpo.looks_back * forward + grpo.updates * update),
    }


def dpo_flops(cfg: Config, seconds: float) -> float:
    """Media once; the captions of each pair scored by both policies, without media where the text prior counts, and
    learnt from."""
    p, t, m = _prefix(cfg), cfg.caption_tokens, cfg.dpo.captions
    read, maps = prefix(cfg, p) + m * caption(cfg, t, p, t / 2), _maps(cfg, p, m * t)
    scored = m * head(cfg, t)
    update = _learnt(cfg, "decoder", read, maps) + (3 + _whole(cfg)) * scored
    forward = read + _share(cfg, "decoder") * maps + scored
    return cfg.dpo.batch * (_media(cfg, seconds) + update + (1 + (cfg.dpo.text_prior > 0)) * forward)


def caption_step(cfg: Config, static: RewardStatic, seconds: float, clips: int) -> float:
    """Adapters are merged."""
    return sum(caption_phases(cfg, static, seconds, clips).values())


def caption_phases(cfg: Config, static: RewardStatic | None, seconds: float, clips: int) -> dict[str, float]:
    p, t = _prefix(cfg), cfg.caption_tokens
    return {
        "encode": clips * (sum(_parts(cfg, seconds).values()) + prefix(cfg, p)),
        "decode": clips * (caption(cfg, t, p, t) + head(cfg, t)),
        "reward": clips * reward(static),
    }


def _parts(cfg: Config, seconds: float) -> dict[str, float]:
    """What a clip's media go through, by its path: one clip, forward."""
    return {
        "encoders.audio": audio(cfg, seconds),
        "encoders.video": video(cfg),
        "encoders.audio_projector": projector(cfg, "audio", seconds),
        "encoders.video_projector": projector(cfg, "video", seconds),
        "encoders.fusion": fusion(cfg),
    }


def _media(cfg: Config, seconds: float) -> float:
    """All of them with their adapters."""
    return sum((1 + _share(cfg, part)) * forward for part, forward in _parts(cfg, seconds).items())


def _learnt(cfg: Config, part: str, forward: float, maps: float) -> float:
    """Forward and backward pass of a part whose linear maps take `maps` of its `forward` operations."""
    share = _share(cfg, part)
    return (3 + cfg.model.remat) * (forward + share * maps) - (maps if share else 0)


def _maps(cfg: Config, p: int, t: int) -> float:
    """The decoder's linear maps over a prefix of `p` and `t` positions of captions, forward."""
    if isinstance(cfg.model.decoder, BartConfig):
        return prefix(cfg, p) + caption(cfg, t, 0, 0)
    return caption(cfg, p + t, 0, 0)


def _whole(cfg: Config) -> bool:
    """The decoder trains its own weights, its head's among them."""
    return not _share(cfg, "decoder")


def _share(cfg: Config, part: str) -> float:
    """Operations of a part's adapters for one of its linear maps."""
    nodes = jax.tree_util.tree_leaves_with_path(adapters.declare(cfg), is_leaf=lambda x: isinstance(x, Linear))
    maps = [x.w for at, x in nodes if isinstance(x, Linear) and param.dotted(at).startswith(f"{part}.")]
    own = sum(param.count(adapters.plain(w)) for w in maps)
    return sum(param.count((w.a, w.b)) for w in maps if isinstance(w, Adapted)) / max(own, 1)


def _prefix(cfg: Config) -> int:
    return media_positions(cfg.model) + cfg.data.transcript_tokens
