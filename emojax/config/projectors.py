"""Sizes of what leads from an encoder to the prefix of the decoder."""

from dataclasses import dataclass, fields

from emojax.config.sizes import require_multiple, require_positive


@dataclass(frozen=True)
class LinearProjectorConfig:
    """Frames averaged to the encoder's `tokens`, layer norm, a linear map."""


@dataclass(frozen=True)
class MlpProjectorConfig:
    """Frames averaged to the encoder's `tokens`, layer norm, two linear maps with GELU between (LLaVA-1.5)."""


@dataclass(frozen=True)
class QFormerConfig:
    """Learned queries that attend to the frames: they are the stream's prefix positions, instead of `tokens`.

    Defaults: Video-LLaMA's (arXiv 2306.02858), trained from nothing. BLIP-2's own: layers=12, cross_every=2.
    """

    queries: int = 32
    width: int = 768
    layers: int = 2
    heads: int = 12
    ff: int = 3072
    cross_every: int = 1  # of so many layers the first attends to the frames

    def __post_init__(self) -> None:
        require_positive(self, *(f.name for f in fields(self)))
        require_multiple(self, "width", "heads")
        require_multiple(self, "layers", "cross_every")


@dataclass(frozen=True)
class PreFusionConfig:
    """Both streams made into common positions, beside their own. Defaults but `tokens`: Emotion-LLaMAv2's code."""

    tokens: int = 16  # fused prefix positions; 64 there
    width: int = 128
    ff: int = 512
    convolutions: int = 4

    def __post_init__(self) -> None:
        require_positive(self, *(f.name for f in fields(self)))
