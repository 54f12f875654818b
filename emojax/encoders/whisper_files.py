"""The files of Whisper as transformers has them: both configurations, and the weights' names.

Transformers has a class for the encoder alone, `WhisperEncoder`, which `AutoModel` does not know; exports are for it:
`transformers.models.whisper.modeling_whisper.WhisperEncoder.from_pretrained(directory)`.
"""

from collections.abc import Mapping
from typing import Any

from emojax.config import WhisperConfig
from emojax.encoders.audio import HOP, SAMPLE_RATE, WINDOW
from emojax.hub import options
from emojax.hub.options import HEADS, LAYERS, WIDTH
from emojax.hub.weights import Names, linear_names, norm_names
from emojax.nn.layers import ACTIVATIONS

POSITION = 2 * HOP  # samples from one encoder position to the next
_TABLE: options.Table = {
    "model_type": (None, ("whisper",)),
    "num_mel_bins": (80, options.whole(2**10)),
    "d_model": (384, WIDTH),
    "encoder_layers": (4, LAYERS),
    "encoder_attention_heads": (6, HEADS),
    "encoder_ffn_dim": (1536, WIDTH),
    "activation_function": ("gelu", tuple(ACTIVATIONS)),
    "max_source_positions": (1500, options.whole(2**16)),
}


def config(json: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> WhisperConfig:
    """Sizes from `config.json` and `preprocessor_config.json` of transformers; what they say of the decoder is ignored.

    Raises:
      ValueError: names every option which is not implemented.
    """
    c, wrong = options.read(json, _TABLE)
    mels, seconds = c["num_mel_bins"], c["max_source_positions"] * POSITION / SAMPLE_RATE
    audio: options.Table = {
        "feature_extractor_type": ("WhisperFeatureExtractor", ("WhisperFeatureExtractor",)),
        "sampling_rate": (SAMPLE_RATE, (SAMPLE_RATE,)),
        "n_fft": (WINDOW, (WINDOW,)),
        "hop_length": (HOP, (HOP,)),
        "dither": (0.0, (0.0,)),
        "feature_size": (mels, (mels,)),
        "chunk_length": (seconds, (seconds,)),
    }
    wrong += options.read(preprocessor, audio)[1]
    wrong += options.not_multiples(c, "d_model", "encoder_attention_heads")
    options.require_none(wrong, "Whisper")
    return WhisperConfig(
        mels=mels,
        width=c["d_model"],
        layers=c["encoder_layers"],
        heads=c["encoder_attention_heads"],
        ff=c["encoder_ffn_dim"],
        activation=c["activation_function"],
        positions=c["max_source_positions"],
    )


def to_json(sizes: WhisperConfig) -> dict[str, Any]:
    """The `config.json` with which `WhisperEncoder` is the same model."""
    return {
        "model_type": "whisper",
        "architectures": ["WhisperEncoder"],
        "num_mel_bins": sizes.mels,
        "d_model": sizes.width,
        "encoder_layers": sizes.layers,
        "encoder_attention_heads": sizes.heads,
        "encoder_ffn_dim": sizes.ff,
        "activation_function": sizes.activation,
        "max_source_positions": sizes.positions,
    }


def preprocessor_json(sizes: WhisperConfig) -> dict[str, Any]:
    """The `preprocessor_config.json` of the same model."""
    seconds = sizes.positions * POSITION / SAMPLE_RATE
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": sizes.mels,
        "sampling_rate": SAMPLE_RATE,
        "n_fft": WINDOW,
        "hop_length": HOP,
        "chunk_length": int(seconds) if seconds.is_integer() else seconds,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
    }


def names(sizes: WhisperConfig) -> Names:
    """Names of the backbone's weights."""
    layer = "layers.{l}"
    return Names(
        table=(
            ("conv1.weight", "stem.0.w", "o i w=3 -> (w i) o"),
            ("conv1.bias", "stem.0.b", "o -> o"),
            ("conv2.weight", "stem.1.w", "o i w=3 -> (w i) o"),
            ("conv2.bias", "stem.1.b", "o -> o"),
            ("embed_positions.weight", "positions", "s d -> s d"),
            *norm_names(f"{layer}.self_attn_layer_norm", "layers.attention_norm"),
            *linear_names(f"{layer}.self_attn.q_proj", "layers.attention.q"),
            *linear_names(f"{layer}.self_attn.k_proj", "layers.attention.k"),
            *linear_names(f"{layer}.self_attn.v_proj", "layers.attention.v"),
            *linear_names(f"{layer}.self_attn.out_proj", "layers.attention.o"),
            *norm_names(f"{layer}.final_layer_norm", "layers.mlp_norm"),
            *linear_names(f"{layer}.fc1", "layers.mlp.up"),
            *linear_names(f"{layer}.fc2", "layers.mlp.down"),
            *norm_names("layer_norm", "norm"),
        ),
        # the decoder, and the heads of recognisers and classifiers
        ignore=("model.decoder.*", "decoder.*", "proj_out.*", "layer_weights", "projector.*", "classifier.*"),
        prefix=("model.encoder.", "encoder."),
    )
