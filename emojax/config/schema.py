"""The configuration: frozen dataclasses. `presets.py` reads them from files and applies overrides."""

import math
from dataclasses import dataclass, field
from typing import Literal

from emojax.config.dpo import Dpo
from emojax.config.families import (
    AudioConfig,
    DecoderConfig,
    FrameEncoderConfig,
    LinearProjectorConfig,
    LlamaConfig,
    MelEncoderConfig,
    ProjectorConfig,
    QFormerConfig,
    VideoConfig,
    VideoMaeConfig,
    VitConfig,
    WhisperConfig,
)
from emojax.config.grpo import Grpo
from emojax.config.method import Lora, Reward, Sft
from emojax.config.projectors import PreFusionConfig
from emojax.config.sizes import family
from emojax.errors import require


@dataclass(frozen=True)
class Corpus:
    """The built-in corpus: what `emojax synth` makes."""

    clips: int = 1200
    speakers: int = 24
    seconds: float = 2.0  # mean duration of a clip
    frame_size: int = 64  # pixels, height and width of the video
    fps: int = 12
    seed: int = 0  # of all that is made: other than the run's, so that a study over seeds keeps its test set


@dataclass(frozen=True)
class Data:
    manifest: str = ""  # a JSONL manifest, or a dataset of TFDS: its directory or tfds:NAME; empty: the built-in corpus
    corpus: Corpus = field(default_factory=Corpus)
    features: str = ""  # a directory that `emojax encode` wrote, read instead of media; empty: media are read
    audio_seconds: tuple[float, ...] = (4.0,)  # length buckets, ascending; a clip beyond the last is truncated
    frames: int = 8  # S, frames per clip, evenly spaced in time
    frame_size: int = 48  # pixels, height and width that frames are resized to
    frame_resize: int | None = (
        None  # pixels of the shortest edge before the centre is cut out; None: the whole frame is squeezed
    )
    frame_filter: Literal["area", "bilinear", "bicubic"] = "area"  # the last two are Pillow's
    transcript_tokens: int = 24  # X, a longer transcript is truncated
    targets: int = 1  # M, captions of a clip that a step of the cold start learns from
    references: int = 5  # R, captions of a clip that the reward reads
    workers: int = 1  # processes that decode ahead of the device; 0: decode in this one
    cache_gb: float = 2.0  # decoded clips kept in memory, over all workers
    strict: bool = False  # stop at the first broken file instead of going on without it

    def __post_init__(self) -> None:
        require(
            self.frame_resize is None or self.frame_resize >= self.frame_size,
            f"data.frame_resize wants none or at least data.frame_size={self.frame_size}, got {self.frame_resize}",
        )


@dataclass(frozen=True)
class Model:
    audio: AudioConfig | None = field(default_factory=MelEncoderConfig)  # None: the captioner reads no audio
    video: VideoConfig | None = field(default_factory=FrameEncoderConfig)  # None: it reads no video
    audio_projector: ProjectorConfig = field(
        default_factory=LinearProjectorConfig
    )  # how the stream becomes prefix positions
    video_projector: ProjectorConfig = field(default_factory=LinearProjectorConfig)
    fusion: PreFusionConfig | None = None  # prefix positions made of both streams, beside their own
    decoder: DecoderConfig = field(default_factory=LlamaConfig)
    remat: bool = False  # recompute each layer's activations in the backward pass: less memory, more time

    def __post_init__(self) -> None:
        for stream, projector in (("audio", self.audio_projector), ("video", self.video_projector)):
            name = f"model.{stream}_projector"
            require(
                getattr(self, stream) is not None or projector == LinearProjectorConfig(),
                f"{name}={projector} is for a stream that model.{stream}=None does not read; leave it out",
            )
        if self.fusion:
            missing = [stream for stream in ("audio", "video") if getattr(self, stream) is None]
            require(not missing, f"model.fusion wants both streams, got model.{' and model.'.join(missing)}=None")


@dataclass(frozen=True)
class Mesh:
    """Devices along each axis; None: chosen so that the batch can be sharded and the state fits (`meshes.py`)."""

    data: int | None = None  # copies of the weights, each with clips of its own: across hosts or slices
    fsdp: int | None = None  # parts of the weights' width, each with clips or samples of its own: inside a host
    model: int | None = None  # parts of heads, feed-forward and vocabulary; 1 unless the state would not fit

    def __post_init__(self) -> None:
        for name, size in (("data", self.data), ("fsdp", self.fsdp), ("model", self.model)):
            require(size is None or size > 0, f"mesh.{name} wants none (chosen) or a positive number, got {size}")


@dataclass(frozen=True)
class Config:
    name: str
    seed: int = 0  # of weights, order and noise; the built-in corpus has its own, data.corpus.seed
    noise_seed: int | None = None  # of what is drawn while training; None: `seed`
    perturb: int = 0  # ulps that one of the initial weights is moved by, to see how far that goes
    precision: Literal["float32", "bfloat16"] = "float32"
    # that weights are kept in which a stage does not train; int8: their linear maps, and the rest in bfloat16
    frozen_precision: Literal["float32", "bfloat16", "int8"] = "float32"
    steps: int = 200  # optimizer steps of a stage
    sft_steps: int | None = None  # of the cold start, where it takes another number; None: `steps`
    checkpoint_every: int = 100  # steps
    checkpoint_minutes: float = 30.0  # also one whenever so much time has passed since the last; 0: by steps alone
    keep: int = 2  # checkpoints, the last ones
    keep_best: int = 0  # besides, those of the best `keep_best_by`, a mean over the steps since the last one
    # a metric of the steps or, as eval_greedy_reward, of the evaluations; less is better with - before it; empty: the
    # reward, of the cold start -loss
    keep_best_by: str = ""
    eval_every: int = 0  # steps between evaluations on clips of the split `validation`; 0: none
    eval_clips: int = 64
    patience: int = 0  # evaluations without a better `keep_best_by` after which a stage ends; 0: it goes on to its end
    sample_every: int = 20  # steps between lines of samples.jsonl
    max_skipped: int = 10  # updates in a row that may be skipped for a non-finite loss or gradient
    caption_tokens: int = 48  # T, the longest caption that is trained on or sampled
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    reward: Reward = field(default_factory=Reward)
    sft: Sft = field(default_factory=Sft)
    grpo: Grpo = field(default_factory=Grpo)
    dpo: Dpo = field(default_factory=Dpo)
    lora: Lora = field(default_factory=Lora)
    mesh: Mesh = field(default_factory=Mesh)

    def __repr__(self) -> str:
        """In a line; `presets.dumps` has all of it."""
        parts = {name: getattr(self.model, name) for name in ("audio", "video", "decoder")}
        made = ", ".join(f"{name}={family(part) if part else None}" for name, part in parts.items())
        steps = f"{self.steps if self.sft_steps is None else self.sft_steps} + {self.steps} steps"
        return f"Config({self.name!r}, seed={self.seed}, {made}, {steps})"

    def __post_init__(self) -> None:
        for name in ("steps", "checkpoint_every", "sample_every", "keep", "caption_tokens"):
            require(getattr(self, name) > 0, f"{name} wants a positive number, got {getattr(self, name)}")
        require(self.eval_clips > 0, f"eval_clips wants a positive number, got {self.eval_clips}")
        for name in ("checkpoint_minutes", "keep_best", "eval_every", "patience", "perturb"):
            require(getattr(self, name) >= 0, f"{name} wants a number from 0 up, got {getattr(self, name)}")
        for name, stage in (("sft", self.sft), ("grpo", self.grpo), ("dpo", self.dpo)):
            require(stage.batch > 0, f"{name}.batch wants a positive number, got {stage.batch}")
        sft = self.sft
        require(
            sft.micro_batch == 0 or (sft.micro_batch > 0 and sft.batch % sft.micro_batch == 0),
            f"sft.micro_batch wants a divisor of sft.batch={sft.batch} or 0, got {sft.micro_batch}",
        )
        seconds = self.data.audio_seconds
        require(
            bool(seconds) and list(seconds) == sorted(set(seconds)) and 0 < seconds[0] <= seconds[-1] < math.inf,
            f"data.audio_seconds wants ascending positive numbers, got {seconds}",
        )
        require(
            all(abs(100 * s - round(100 * s)) < 1e-6 for s in seconds),
            f"data.audio_seconds wants multiples of 0.01 (a frame of the spectrogram), got {seconds}",
        )
        video, size = self.model.video, self.data.frame_size
        if isinstance(video, FrameEncoderConfig):
            require(size % 8 == 0, f"data.frame_size wants a multiple of 8 pixels, got {size}")
        elif isinstance(video, VitConfig | VideoMaeConfig):
            wants = f"{family(video)}'s image_size={video.image_size}"
            require(size == video.image_size, f"data.frame_size wants {wants}, got {size}")
        if isinstance(video, VideoMaeConfig):
            require(
                self.data.frames == video.frames, f"data.frames wants {video.frames} (VideoMae), got {self.data.frames}"
            )
        if isinstance(self.model.audio, WhisperConfig):
            window = self.model.audio.positions / 50
            require(seconds[-1] <= window, f"data.audio_seconds wants at most {window} s (Whisper), got {seconds}")


def stream_positions(encoder: AudioConfig | VideoConfig | None, projector: ProjectorConfig) -> int:
    """Prefix positions of a stream."""
    if encoder is None:
        return 0
    return projector.queries if isinstance(projector, QFormerConfig) else encoder.tokens


def media_positions(model: Model) -> int:
    """Prefix positions of both streams and of what is fused of them: the transcript's come after these."""
    own = stream_positions(model.audio, model.audio_projector) + stream_positions(model.video, model.video_projector)
    return own + (model.fusion.tokens if model.fusion else 0)
