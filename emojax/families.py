"""The sizes of every model family, as frozen dataclasses: what a preset writes down and a `config.json` is read into.

`AudioEncoder`, `VideoEncoder` and `Decoder` may be made from nothing. All others are published architectures; the
file that is named after each in `encoders/` or `decoder/` has its functions, its `config.json` and its weights' names.

Every part that a captioner is built of has `weights`: a hub id or a directory that it is read from, whose own
`config.json` then decides the family and the sizes (`emojax/pretrained.py`). Sizes written in a preset stand in where
those files are not at hand, as in `emojax plan`. Empty: random weights.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

Activation = Literal["gelu", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "relu", "silu"]


@dataclass(frozen=True)
class AudioEncoder:
    mels: int = 80
    width: int = 128
    layers: int = 2
    heads: int = 4
    ff: int = 256
    tokens: int = 12  # prefix positions that the stream is pooled to
    weights: str = ""


@dataclass(frozen=True)
class Wav2Vec2:
    """Wav2Vec2, HuBERT, WavLM: convolutions over the waveform, then a transformer. Defaults: the base models."""

    kind: Literal["wav2vec2", "hubert", "wavlm"] = "hubert"
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
    buckets: int = 320  # of relative positions (WavLM)
    max_distance: int = 800
    normalize: bool = True  # the waveform to mean 0, deviation 1, as its preprocessor_config.json says
    layer: int | None = -1  # hidden state that is read, as transformers counts them; None: a learned weighted sum
    tokens: int = 32  # prefix positions that the stream is pooled to
    weights: str = ""


@dataclass(frozen=True)
class Whisper:
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


@dataclass(frozen=True)
class VideoEncoder:
    width: int = 128
    spatial_layers: int = 1  # within a frame
    temporal_layers: int = 1  # across frames
    heads: int = 4
    ff: int = 256
    tokens: int = 8  # prefix positions that the stream is pooled to
    weights: str = ""


@dataclass(frozen=True)
class Vit:
    """CLIP's image encoder, ViT, DINOv2: a vector a frame, that of the class token. Defaults: CLIP ViT-L/14."""

    kind: Literal["clip", "vit", "dinov2"] = "clip"
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
    mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)  # of its images' channels, 0..1
    std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)
    tokens: int = 16  # prefix positions that the stream is pooled to
    weights: str = ""


@dataclass(frozen=True)
class VideoMae:
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


@dataclass(frozen=True)
class Bert:
    """BERT, RoBERTa, XLM-R, CamemBERT. Defaults: all-MiniLM-L6-v2."""

    kind: Literal["bert", "roberta", "xlm-roberta", "camembert"] = "bert"
    vocab: int = 30_522  # V
    width: int = 384  # D
    layers: int = 6  # L
    heads: int = 12  # N
    ff: int = 1536  # F
    activation: Activation = "gelu"
    positions: int = 512  # rows of the table of positions
    first_position: int = 0  # row of the first token; RoBERTa's is the id of its padding, and one more
    types: int = 2  # of segments; only the first is used here
    norm_eps: float = 1e-12


@dataclass(frozen=True)
class Mpnet:
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


@dataclass(frozen=True)
class RopeScaling:
    """How rotary positions are stretched beyond the length that a model was trained at."""

    kind: Literal["linear", "llama3", "yarn"]
    factor: float
    original_positions: int = 0  # llama3, yarn
    low_freq_factor: float = 1.0  # llama3
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0  # yarn
    beta_slow: float = 1.0
    attention_factor: float | None = None


@dataclass(frozen=True)
class Decoder:
    """A causal language model of the Qwen2, Qwen3 or Llama kind; which of them, its options say."""

    vocab: int = 1024  # V; also the size of the tokenizer that training makes
    padding: int = 0  # rows after them in the tables, so that a mesh can cut these evenly; never drawn
    width: int = 128
    layers: int = 3
    heads: int = 4
    kv_heads: int = 2
    head_width: int = 32
    ff: int = 384
    activation: Activation = "silu"
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    positions: int = 32_768  # the longest prefix and caption together
    window: int | None = None  # positions that the layers from `window_from` on look back
    window_from: int = 0
    norm_eps: float = 1e-6
    qkv_bias: bool = True
    o_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False  # RMSNorm of each head's queries and keys (Qwen3)
    tie: bool = True  # the output head is the transposed embedding table
    start_token: int = 1  # what a caption is begun from
    end_token: int = 2  # what closes it; outside the vocabulary: every caption has `caption_tokens` tokens
    weights: str = ""


@dataclass(frozen=True)
class Gpt2:
    """GPT-2: learned positions, layer norm, biases everywhere, the head tied. Defaults: the smallest."""

    vocab: int = 50_257
    padding: int = 0
    width: int = 768
    layers: int = 12
    heads: int = 12
    ff: int = 3072
    activation: Activation = "gelu_new"
    positions: int = 1024
    norm_eps: float = 1e-5
    start_token: int = 50_256
    end_token: int = 50_256
    weights: str = ""


@dataclass(frozen=True)
class Bart:
    """BART: the prefix goes through its encoder, captions attend to that. Defaults: bart-base."""

    vocab: int = 50_265
    padding: int = 0
    width: int = 768
    encoder_layers: int = 6
    layers: int = 6
    encoder_heads: int = 12
    heads: int = 12
    encoder_ff: int = 3072
    ff: int = 3072
    activation: Activation = "gelu"
    positions: int = 1024
    scale_embedding: bool = False
    start_token: int = 2
    end_token: int = 2
    weights: str = ""


@dataclass(frozen=True)
class FeatureFiles:
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


@dataclass(frozen=True)
class LinearProjector:
    """Frames averaged to the encoder's `tokens`, layer norm, a linear map."""


@dataclass(frozen=True)
class MlpProjector:
    """Frames averaged to the encoder's `tokens`, layer norm, two linear maps with GELU between (LLaVA-1.5)."""


@dataclass(frozen=True)
class QFormer:
    """Learned queries that attend to the frames: they are the stream's prefix positions, instead of `tokens`.

    Defaults: Video-LLaMA's (arXiv 2306.02858), trained from nothing. BLIP-2's own: layers=12, cross_every=2.
    """

    queries: int = 32
    width: int = 768
    layers: int = 2
    heads: int = 12
    ff: int = 3072
    cross_every: int = 1  # of so many layers the first attends to the frames


@dataclass(frozen=True)
class PreFusion:
    """Both streams made into common positions, beside their own. Defaults but `tokens`: Emotion-LLaMAv2's code."""

    tokens: int = 16  # fused prefix positions; 64 there
    width: int = 128
    ff: int = 512
    convolutions: int = 4


Hears = AudioEncoder | Wav2Vec2 | Whisper | FeatureFiles
Sees = VideoEncoder | Vit | VideoMae | FeatureFiles
Writes = Decoder | Gpt2 | Bart
Reads = Bert | Mpnet
Projects = LinearProjector | MlpProjector | QFormer
