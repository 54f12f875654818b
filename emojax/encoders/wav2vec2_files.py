"""The files of Wav2Vec2, HuBERT, WavLM and Data2Vec as transformers has them: both configurations, and the weights'
names.
"""

from collections.abc import Mapping
from typing import Any

from emojax.config import Wav2Vec2Config
from emojax.hub import options
from emojax.hub.options import ANY, HEADS, LAYERS, ROWS, WIDTH, each
from emojax.hub.weights import Names, linear_names, norm_names
from emojax.nn.layers import ACTIVATIONS

_CLASSES = {
    "wav2vec2": "Wav2Vec2Model",
    "hubert": "HubertModel",
    "wavlm": "WavLMModel",
    "data2vec-audio": "Data2VecAudioModel",
}
TYPES = tuple(_CLASSES)
_BASE = Wav2Vec2Config()
_STRIDE = options.whole(2**12)  # positions
_TABLE: options.Table = {
    "model_type": (None, tuple(_CLASSES)),
    "hidden_act": ("gelu", tuple(ACTIVATIONS)),
    "feat_extract_activation": ("gelu", tuple(ACTIVATIONS)),
    "feat_extract_norm": ("group", ("group", "layer")),
    "add_adapter": (False, (False,)),
    "adapter_attn_dim": (None, (None,)),
    "conv_pos_batch_norm": (False, (False,)),
    "conv_dim": (_BASE.conv_width, each(WIDTH)),
    "conv_kernel": (_BASE.conv_kernel, each(_STRIDE)),
    "conv_stride": (_BASE.conv_stride, each(_STRIDE)),
    "conv_bias": (False, ANY),
    "feat_proj_layer_norm": (True, ANY),  # HuBERT's
    "hidden_size": (768, WIDTH),
    "num_hidden_layers": (12, LAYERS),
    "num_attention_heads": (12, HEADS),
    "intermediate_size": (3072, WIDTH),
    "do_stable_layer_norm": (False, ANY),
    "layer_norm_eps": (1e-5, ANY),
    "num_conv_pos_embeddings": (128, _STRIDE),
    "num_conv_pos_embedding_groups": (16, HEADS),
    "num_buckets": (320, ROWS),  # this and the next are WavLM's
    "max_bucket_distance": (800, ROWS),
}
_DATA2VEC: options.Table = {  # what it has otherwise
    "feat_extract_norm": ("layer", ("layer",)),
    "feat_proj_layer_norm": (True, (True,)),
    "do_stable_layer_norm": (False, (False,)),
    "num_conv_pos_embeddings": (5, LAYERS),  # of convolutions, to the others the width of one
    "conv_pos_kernel_size": (19, _STRIDE),
}
_PREPROCESSOR: options.Table = {
    "feature_extractor_type": ("Wav2Vec2FeatureExtractor", ("Wav2Vec2FeatureExtractor",)),
    "sampling_rate": (16_000, (16_000,)),
    "feature_size": (1, (1,)),
    "do_normalize": (True, ANY),
}


def config(json: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> Wav2Vec2Config:
    """Sizes from `config.json` and `preprocessor_config.json` of transformers.

    Raises:
      ValueError: names every option which is not implemented.
    """
    data2vec = json.get("model_type") == "data2vec-audio"
    c, wrong = options.read(json, _TABLE | (_DATA2VEC if data2vec else {}))
    audio, faults = options.read(preprocessor, _PREPROCESSOR)
    wrong += faults
    wrong += options.not_multiples(c, "hidden_size", "num_attention_heads", "num_conv_pos_embedding_groups")
    convs = [len(c[name]) for name in ("conv_dim", "conv_kernel", "conv_stride")]
    if len(set(convs)) > 1:
        wrong.append(f"conv_dim, conv_kernel and conv_stride are of {convs} layers")
    options.require_none(wrong, "speech encoder")
    kind = c["model_type"]
    wavlm = kind == "wavlm"
    return Wav2Vec2Config(
        kind=kind,
        conv_width=tuple(c["conv_dim"]),
        conv_kernel=tuple(c["conv_kernel"]),
        conv_stride=tuple(c["conv_stride"]),
        conv_bias=c["conv_bias"],
        conv_norm=c["feat_extract_norm"],
        conv_activation=c["feat_extract_activation"],
        project_norm=kind != "hubert" or c["feat_proj_layer_norm"],
        width=c["hidden_size"],
        layers=c["num_hidden_layers"],
        heads=c["num_attention_heads"],
        ff=c["intermediate_size"],
        activation=c["hidden_act"],
        norm_first=c["do_stable_layer_norm"],
        norm_eps=c["layer_norm_eps"],
        position_kernel=c["conv_pos_kernel_size"] if data2vec else c["num_conv_pos_embeddings"],
        position_groups=c["num_conv_pos_embedding_groups"],
        position_layers=c["num_conv_pos_embeddings"] if data2vec else _BASE.position_layers,
        buckets=c["num_buckets"] if wavlm else _BASE.buckets,
        max_distance=c["max_bucket_distance"] if wavlm else _BASE.max_distance,
        normalize=audio["do_normalize"],
    )


def to_json(sizes: Wav2Vec2Config) -> dict[str, Any]:
    """The `config.json` of the same model; without SpecAugment, whose vector is not kept."""
    extra: dict[str, dict[str, Any]] = {
        "wav2vec2": {},
        "hubert": {"feat_proj_layer_norm": sizes.project_norm},
        "wavlm": {"num_buckets": sizes.buckets, "max_bucket_distance": sizes.max_distance},
        "data2vec-audio": {
            "num_conv_pos_embeddings": sizes.position_layers,
            "conv_pos_kernel_size": sizes.position_kernel,
        },
    }
    return {
        "model_type": sizes.kind,
        "architectures": [_CLASSES[sizes.kind]],
        "conv_dim": list(sizes.conv_width),
        "conv_kernel": list(sizes.conv_kernel),
        "conv_stride": list(sizes.conv_stride),
        "num_feat_extract_layers": len(sizes.conv_width),
        "conv_bias": sizes.conv_bias,
        "feat_extract_norm": sizes.conv_norm,
        "feat_extract_activation": sizes.conv_activation,
        "hidden_size": sizes.width,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "intermediate_size": sizes.ff,
        "hidden_act": sizes.activation,
        "do_stable_layer_norm": sizes.norm_first,
        "layer_norm_eps": sizes.norm_eps,
        "num_conv_pos_embeddings": sizes.position_kernel,
        "num_conv_pos_embedding_groups": sizes.position_groups,
        "apply_spec_augment": False,
        "mask_time_prob": 0.0,
        "mask_feature_prob": 0.0,
        **extra[sizes.kind],
    }


def preprocessor_json(sizes: Wav2Vec2Config) -> dict[str, Any]:
    """The `preprocessor_config.json` of the same model."""
    return {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": 16_000,
        "padding_side": "right",
        "padding_value": 0.0,
        "do_normalize": sizes.normalize,
        "return_attention_mask": sizes.conv_norm == "layer",
    }


def names(sizes: Wav2Vec2Config) -> Names:
    """Names of the backbone's weights."""
    convs = []
    for i, width in enumerate(sizes.conv_kernel):
        theirs = f"feature_extractor.conv_layers.{i}"
        convs += [
            (f"{theirs}.conv.weight", f"convs.{i}.linear.w", f"o i w={width} -> (w i) o"),
            (f"{theirs}.conv.bias", f"convs.{i}.linear.b", "o -> o"),
            *norm_names(f"{theirs}.layer_norm", f"convs.{i}.norm"),
        ]
    position, layer = "encoder.pos_conv_embed.conv", "encoder.layers.{l}"
    return Names(
        table=(
            *convs,
            *norm_names("feature_projection.layer_norm", "project_norm"),
            *linear_names("feature_projection.projection", "project"),
            (f"{position}.parametrizations.weight.original0", "position.length", "1 1 w -> w"),
            (
                f"{position}.parametrizations.weight.original1",
                "position.direction",
                f"o i w={sizes.position_kernel} -> (w i) o",
            ),
            (f"{position}.bias", "position.bias", "o -> o"),
            *(
                (f"encoder.pos_conv_embed.layers.{i}.conv.{name}", f"position.{i}.{ours}", pattern)
                for i in range(sizes.position_layers)
                for name, ours, pattern in (
                    ("weight", "w", f"o i w={sizes.position_kernel} -> (w i) o"),
                    ("bias", "b", "o -> o"),
                )
            ),
            *norm_names("encoder.layer_norm", "norm"),
            ("encoder.layers.0.attention.rel_attn_embed.weight", "distances", "b n -> b n"),
            *linear_names(f"{layer}.attention.q_proj", "layers.attention.q"),
            *linear_names(f"{layer}.attention.k_proj", "layers.attention.k"),
            *linear_names(f"{layer}.attention.v_proj", "layers.attention.v"),
            *linear_names(f"{layer}.attention.out_proj", "layers.attention.o"),
            *linear_names(f"{layer}.attention.gru_rel_pos_linear", "layers.gate.linear"),
            (f"{layer}.attention.gru_rel_pos_const", "layers.gate.scale", "1 n 1 1 -> n"),
            *norm_names(f"{layer}.layer_norm", "layers.attention_norm"),
            *linear_names(f"{layer}.feed_forward.intermediate_dense", "layers.mlp.up"),
            *linear_names(f"{layer}.feed_forward.output_dense", "layers.mlp.down"),
            *norm_names(f"{layer}.final_layer_norm", "layers.mlp_norm"),
        ),
        # SpecAugment's vector, and the heads of pretraining, recognisers and classifiers
        ignore=(
            "masked_spec_embed",
            *("quantizer.*", "project_q.*", "project_hid.*", "final_proj.*", "lm_head.*"),
            *("layer_weights", "projector.*", "classifier.*", "tdnn.*", "objective.*"),
        ),
        prefix=(f"{sizes.kind.replace('-', '_')}.",),
        old=tuple(
            (f"{position}.weight_{letter}", f"{position}.parametrizations.weight.original{i}")
            for i, letter in enumerate("gv")
        ),
    )
