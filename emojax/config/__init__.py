"""What can be set: the dataclasses of a configuration, and the error of a setting that cannot be used."""

from emojax.config.concepts import Concept
from emojax.config.decoders import BartConfig, Gpt2Config, LlamaConfig, RopeScaling
from emojax.config.dpo import Dpo
from emojax.config.encoders import (
    Activation,
    BertConfig,
    FeatureFilesConfig,
    FrameEncoderConfig,
    MelEncoderConfig,
    MpnetConfig,
    VideoMaeConfig,
    VitConfig,
    Wav2Vec2Config,
    WhisperConfig,
)
from emojax.config.families import AudioConfig, DecoderConfig, ProjectorConfig, TextConfig, VideoConfig
from emojax.config.grpo import Grpo, Sampling
from emojax.config.method import Lora, Reward, Sft
from emojax.config.optimizer import Optimizer
from emojax.config.projectors import LinearProjectorConfig, MlpProjectorConfig, PreFusionConfig, QFormerConfig
from emojax.config.schema import Config, Corpus, Data, Mesh, Model, media_positions, stream_positions
from emojax.config.sizes import family
from emojax.errors import ConfigError

__all__ = [
    "Activation",
    "AudioConfig",
    "BartConfig",
    "BertConfig",
    "Concept",
    "Config",
    "ConfigError",
    "Corpus",
    "Data",
    "DecoderConfig",
    "Dpo",
    "FeatureFilesConfig",
    "FrameEncoderConfig",
    "Gpt2Config",
    "Grpo",
    "LinearProjectorConfig",
    "LlamaConfig",
    "Lora",
    "MelEncoderConfig",
    "Mesh",
    "MlpProjectorConfig",
    "Model",
    "MpnetConfig",
    "Optimizer",
    "PreFusionConfig",
    "ProjectorConfig",
    "QFormerConfig",
    "Reward",
    "RopeScaling",
    "Sampling",
    "Sft",
    "TextConfig",
    "VideoConfig",
    "VideoMaeConfig",
    "VitConfig",
    "Wav2Vec2Config",
    "WhisperConfig",
    "family",
    "media_positions",
    "stream_positions",
]
