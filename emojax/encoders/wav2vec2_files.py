"""The files of Wav2Vec2, HuBERT and WavLM as transformers has them: both configurations, and the weights' names."""

from collections.abc import Mapping
from typing import Any

from emojax.config import Wav2Vec2Config
from emojax.hub.weights import Names, linear_names, norm_names
from emojax.nn.layers import ACTIVATIONS

_CLASSES = {"wav2vec2": "Wav2Vec2Model", "hubert": "HubertModel", "wavlm": "WavLMModel"}


def config(json: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> Wav2Vec2Config:
    """From `config.json` and `preprocessor_config.json` of transformers.

    Raises:
      ValueError: names every option which is not implemented.
    """
    published = Wav2Vec2Config()
    sizes = {
        theirs: json.get(theirs, default)
        for theirs, default in {
            "conv_dim": published.conv_width,
            "conv_kernel": published.conv_kernel,
            "conv_stride": published.conv_stride,
            "hidden_size": 768,
            "num_attention_heads": 12,
            "num_conv_pos_embedding_groups": 16,
        }.items()
    }
    implemented: list[tuple[Mapping, str, Any, tuple]] = [
        (json, "model_type", None, tuple(_CLASSES)),
        (json, "hidden_act", "gelu", tuple(ACTIVATIONS)),
        (json, "feat_extract_activation", "gelu", tuple(ACTIVATIONS)),
        (json, "feat_extract_norm", "group", ("group", "layer")),
        (json, "add_adapter", False, (False,)),
        (json, "adapter_attn_dim", None, (None,)),
        (json, "conv_pos_batch_norm", False, (False,)),
        (preprocessor, "feature_extractor_type", "Wav2Vec2FeatureExtractor", ("Wav2Vec2FeatureExtractor",)),
        (preprocessor, "sampling_rate", 16_000, (16_000,)),
        (preprocessor, "feature_size", 1, (1,)),
    ]
    wrong = [
        f"{name}={source.get(name, default)!r} (implemented: {', '.join(map(repr, values))})"
        for source, name, default, values in implemented
        if source.get(name, default) not in values
    ]
    wrong += [
        f"hidden_size={sizes['hidden_size']} is not a multiple of {name}={sizes[name]}"
        for name in ("num_attention_heads", "num_conv_pos_embedding_groups")
        if sizes["hidden_size"] % sizes[name]
    ]
    if len({len(sizes[name]) for name in ("conv_dim", "conv_kernel", "conv_stride")}) > 1:
        wrong.append(f"conv_dim, conv_kernel and conv_stride are of {[len(sizes[n]) for n in list(sizes)[:3]]} layers")
    if wrong:
        raise ValueError(f"this speech encoder is not supported: {'; '.join(wrong)}")
    kind = json["model_type"]
    return Wav2Vec2Config(
        kind=kind,
        conv_width=tuple(sizes["conv_dim"]),
        conv_kernel=tuple(sizes["conv_kernel"]),
        conv_stride=tuple(sizes["conv_stride"]),
        conv_bias=json.get("conv_bias", False),
        conv_norm=json.get("feat_extract_norm", "group"),
        conv_activation=json.get("feat_extract_activation", "gelu"),
        project_norm=kind != "hubert" or json.get("feat_proj_layer_norm", True),
        width=sizes["hidden_size"],
        layers=json.get("num_hidden_layers", 12),
        heads=sizes["num_attention_heads"],
        ff=json.get("intermediate_size", 3072),
        activation=json.get("hidden_act", "gelu"),
        norm_first=json.get("do_stable_layer_norm", False),
        norm_eps=json.get("layer_norm_eps", 1e-5),
        position_kernel=json.get("num_conv_pos_embeddings", 128),
        position_groups=sizes["num_conv_pos_embedding_groups"],
        buckets=json.get("num_buckets", 320) if kind == "wavlm" else published.buckets,
        max_distance=json.get("max_bucket_distance", 800) if kind == "wavlm" else published.max_distance,
        normalize=preprocessor.get("do_normalize", True),
    )


def to_json(sizes: Wav2Vec2Config) -> dict[str, Any]:
    """The `config.json` of the same model; without SpecAugment, whose vector is not kept."""
    extra: dict[str, dict[str, Any]] = {
        "wav2vec2": {},
        "hubert": {"feat_proj_layer_norm": sizes.project_norm},
        "wavlm": {"num_buckets": sizes.buckets, "max_bucket_distance": sizes.max_distance},
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
    """Of the backbone."""
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
        prefix=(f"{sizes.kind}.",),
        old=tuple(
            (f"{position}.weight_{letter}", f"{position}.parametrizations.weight.original{i}")
            for i, letter in enumerate("gv")
        ),
    )
