"""Sizes of the encoders of media and of text."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from emojax.config.sizes import require_multiple, require_positive
from emojax.errors import require

Activation = Literal["gelu", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "relu", "silu"]


@dataclass(frozen=True)
class MelEncoderConfig:
    mels: int = 80
    width: int = 128
    layers: int = 2
    heads: int = 4
    ff: int = 256
    tokens: int = 12  # prefix positions that the stream is pooled to
    weights: str = ""

    def __post_init__(self) -> None:
        require_multiple(self, "width", "heads")


@dataclass(frozen=True)
class Wav2Vec2Config:
    """Wav2Vec2, HuBERT, WavLM, Data2Vec: convolutions over the waveform, then a transformer. Defaults: base models."""

    kind: Literal["wav2vec2", "hubert", "wavlm", "data2vec-audio"] = "hubert"
    conv_width: tuple[int, ...] = (512, 512, 512, 512, 512, 512, 512)
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_bias: bool = False
    conv_norm: Literal["group", "layer"] = "group"  # after the first convolution alone, or after each
    conv_activation: Activation = "gelu"
    project_norm: bool = True  # layer norm before the projection to `width`
    width: int = 768
    layers: int = 12
    heads: int = 12
    ff: int = 3072
    activation: Activation = "gelu"
    norm_first: bool = False  # large models: before each block instead of after it
    norm_eps: float = 1e-5
    position_kernel: int = 128
    position_groups: int = 16
    position_layers: int = 1  # convolutions one after the other (Data2Vec: 5, of kernel 19)
    buckets: int = 320  # of relative positions (WavLM)
    max_distance: int = 800
    normalize: bool = True  # the waveform to mean 0, deviation 1, as its preprocessor_config.json says
    layer: int | None = -1  # hidden state that is read, as transformers counts them; None: a learned weighted sum
    tokens: int = 32  # prefix positions that the stream is pooled to
    weights: str = ""

    def __post_init__(self) -> None:
        require_multiple(self, "width", "heads")
        require_positive(self, "position_layers")
        if self.kind == "data2vec-audio":
            require(
                self.conv_norm == "layer" and self.project_norm and not self.norm_first,
                "Wav2Vec2.kind=data2vec-audio wants conv_norm=layer, project_norm=True and norm_first=False",
            )


@dataclass(frozen=True)
class WhisperConfig:
    """The encoder of Whisper. Defaults: small. It always reads a whole window (30 s), as it was trained to."""

    mels: int = 80
    width: int = 768
    layers: int = 12
    heads: int = 12
    ff: int = 3072
    activation: Activation = "gelu"
    positions: int = 1500  # encoder positions of a window, 20 ms each
    layer: int | None = -1  # hidden state that is read, as transformers counts them; None: a learned weighted sum
    tokens: int = 32  # prefix positions that the stream is pooled to
    weights: str = ""

    def __post_init__(self) -> None:
        require_multiple(self, "width", "heads")


@dataclass(frozen=True)
class FrameEncoderConfig:
    width: int = 128
    spatial_layers: int = 1  # within a frame
    temporal_layers: int = 1  # across frames
    heads: int = 4
    ff: int = 256
    tokens: int = 8  # prefix positions that the stream is pooled to
    weights: str = ""

    def __post_init__(self) -> None:
        require_multiple(self, "width", "heads")


@dataclass(frozen=True)
class VitConfig:
    """CLIP's image encoder, ViT, DINOv2, SigLIP's: a vector a frame. Defaults: CLIP ViT-L/14."""

    kind: Literal["clip", "vit", "dinov2", "siglip"] = "clip"
    image_size: int = 224  # pixels of a frame, after resizing and cropping
    trained_size: int = 224  # pixels that the table of positions was made for; DINOv2 interpolates it
    patch: int = 14
    width: int = 1024
    layers: int = 24
    heads: int = 16
    ff: int = 4096
    activation: Activation = "quick_gelu"
    norm_eps: float = 1e-5
    qkv_bias: bool = True
    swiglu: bool = False  # DINOv2 giant
    registers: int = 0  # DINOv2 with registers
    mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)  # of its images' channels, 0..1
    std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)
    tokens: int = 16  # prefix positions that the stream is pooled to
    weights: str = ""

    def __post_init__(self) -> None:
        require_multiple(self, "width", "heads")


@dataclass(frozen=True)
class VideoMaeConfig:
    """VideoMAE: tubes of two frames, all seen by all; a vector a tube's time, the mean of its patches. Default: base"""

    image_size: int = 224
    patch: int = 16
    tubelet: int = 2  # frames
    frames: int = 16
    width: int = 768
    layers: int = 12
    heads: int = 12
    ff: int = 3072
    activation: Activation = "gelu"
    norm_eps: float = 1e-12
    qkv_bias: bool = True  # of queries and values; keys have none
    final_norm: bool = False  # off in classifiers, which pool by the mean and norm that (use_mean_pooling)
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    tokens: int = 8  # prefix positions that the stream is pooled to
    weights: str = ""

    def __post_init__(self) -> None:
        require_multiple(self, "width", "heads")


@dataclass(frozen=True)
class FeatureFilesConfig:
    """No encoder: features that somebody else's extractor made, a NumPy file a clip, [S width] or one vector [width].

    EmotionTalk's code writes such files: features/{model}-FRA/{id}.npy a row a frame, features/{model}-UTT/{id}.npy a
    vector a clip. They say nothing of what made them, so nothing but their shapes is checked. A clip has the stream if
    its line of the manifest names `audio` (or `video`), a medium or, where `path` is empty, the NumPy file itself.
    """

    width: int = 768
    positions: int = 256  # S of a batch; a longer file is cut there
    path: str = ""  # the directory with {id}.npy
    tokens: int = 12  # prefix positions that the stream is pooled to
    weights: ClassVar[str] = ""

    def __post_init__(self) -> None:
        require_positive(self, "width", "positions", "tokens")


@dataclass(frozen=True)
class BertConfig:
    """BERT, RoBERTa, XLM-R, CamemBERT, DistilBERT, ERNIE. Defaults: all-MiniLM-L6-v2."""

    kind: Literal["bert", "roberta", "xlm-roberta", "camembert", "distilbert", "ernie"] = "bert"
    vocab: int = 30_522  # V
    width: int = 384  # D
    layers: int = 6  # L
    heads: int = 12  # N
    ff: int = 1536  # F
    activation: Activation = "gelu"
    positions: int = 512  # rows of the table of positions
    first_position: int = 0  # row of the first token; RoBERTa's is the id of its padding, and one more
    types: int = 2  # of segments; only the first is used here. DistilBERT has none, 0
    tasks: int = 0  # of ERNIE, where it tells them apart; likewise
    norm_eps: float = 1e-12

    def __post_init__(self) -> None:
        require_multiple(self, "width", "heads")


@dataclass(frozen=True)
class MpnetConfig:
    """MPNet: relative positions in buckets, shared by all layers. Defaults: all-mpnet-base-v2."""

    vocab: int = 30_527
    width: int = 768
    layers: int = 12
    heads: int = 12
    ff: int = 3072
    activation: Activation = "gelu"
    positions: int = 514
    first_position: ClassVar[int] = 2  # the padding is token 1 in every MPNet
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        require_multiple(self, "width", "heads")
