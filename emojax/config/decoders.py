"""Sizes of the language models."""

from dataclasses import dataclass
from typing import Literal

from emojax.config.encoders import Activation
from emojax.config.sizes import require_multiple
from emojax.errors import require


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
class LlamaConfig:
    """A causal language model of the Qwen2, Qwen3, Llama or Mistral kind; which of them, its options say."""

    vocab: int = 1024  # V; also the size of the tokenizer that training makes
    padding: int = 0  # rows after them in the tables, so that a mesh can shard these evenly; never drawn
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

    def __post_init__(self) -> None:
        require_multiple(self, "heads", "kv_heads")
        require(self.head_width % 2 == 0, f"Llama.head_width wants an even number, got {self.head_width}")


@dataclass(frozen=True)
class Gpt2Config:
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

    def __post_init__(self) -> None:
        require_multiple(self, "width", "heads")


@dataclass(frozen=True)
class BartConfig:
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

    def __post_init__(self) -> None:
        require_multiple(self, "width", "heads")
