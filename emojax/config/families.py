"""The families that a part of the captioner, or the reward model, may be of.

`MelEncoderConfig`, `FrameEncoderConfig` and `LlamaConfig` may be made from nothing. All others are the sizes of
published architectures; the file that is named after each in `encoders/` or `decoder/` has its functions, its
`config.json` and its weights' names. In configurations a family is called by its name without `Config`:
`--set model.audio.family=Whisper`.

Every part that a captioner is built of has `weights`: a hub id or a directory that it is read from, whose own
`config.json` then decides the family and the sizes (`decoder/pretrained.py`). Sizes written in a preset stand in where
those files are not at hand, as in `emojax plan`. Empty: random weights.
"""

from emojax.config.decoders import BartConfig, Gpt2Config, LlamaConfig
from emojax.config.encoders import (
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
from emojax.config.projectors import LinearProjectorConfig, MlpProjectorConfig, QFormerConfig

AudioConfig = MelEncoderConfig | Wav2Vec2Config | WhisperConfig | FeatureFilesConfig
VideoConfig = FrameEncoderConfig | VitConfig | VideoMaeConfig | FeatureFilesConfig
DecoderConfig = LlamaConfig | Gpt2Config | BartConfig
TextConfig = BertConfig | MpnetConfig | LlamaConfig
ProjectorConfig = LinearProjectorConfig | MlpProjectorConfig | QFormerConfig
