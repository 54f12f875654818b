"""Published configurations of language models are read as what they say, and what is not implemented is named."""

import dataclasses

import pytest

from emojax.config import BartConfig, Gpt2Config, LlamaConfig, RopeScaling
from emojax.decoder import bart, gpt2, llama

# as they stand on the hub, written by transformers 4
QWEN25 = {
    "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643, "eos_token_id": 151645,
    "hidden_act": "silu", "hidden_size": 896, "initializer_range": 0.02, "intermediate_size": 4864,
    "max_position_embeddings": 32768, "max_window_layers": 21, "model_type": "qwen2", "num_attention_heads": 14,
    "num_hidden_layers": 24, "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
    "sliding_window": 32768, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "transformers_version": "4.43.1",
    "use_cache": True, "use_sliding_window": False, "vocab_size": 151936,
}  # fmt: skip
QWEN3 = {
    "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 151643,
    "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu", "hidden_size": 1024, "initializer_range": 0.02,
    "intermediate_size": 3072, "max_position_embeddings": 40960, "max_window_layers": 28, "model_type": "qwen3",
    "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8, "rms_norm_eps": 1e-06,
    "rope_scaling": None, "rope_theta": 1000000, "sliding_window": None, "tie_word_embeddings": True,
    "torch_dtype": "bfloat16", "transformers_version": "4.51.0", "use_cache": True, "use_sliding_window": False,
    "vocab_size": 151936,
}  # fmt: skip
LLAMA32 = {
    "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 128000,
    "eos_token_id": [128001, 128008, 128009], "head_dim": 64, "hidden_act": "silu", "hidden_size": 2048,
    "initializer_range": 0.02, "intermediate_size": 8192, "max_position_embeddings": 131072, "mlp_bias": False,
    "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 16, "num_key_value_heads": 8,
    "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0,
    "low_freq_factor": 1.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"}, "rope_theta": 500000.0,
    "tie_word_embeddings": True, "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": 128256,
}  # fmt: skip
MISTRAL = {
    "architectures": ["MistralForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
    "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336, "max_position_embeddings": 32768,
    "model_type": "mistral", "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "sliding_window": 4096, "tie_word_embeddings": False,
    "torch_dtype": "bfloat16", "transformers_version": "4.34.0.dev0", "use_cache": True, "vocab_size": 32000,
}  # fmt: skip


def test_published_configurations():
    assert llama.config(QWEN25) == LlamaConfig(
        vocab=151_936, width=896, layers=24, heads=14, kv_heads=2, head_width=64, ff=4864, rope_theta=1e6,
        start_token=151_643, end_token=151_645,
    )  # fmt: skip
    assert llama.config(QWEN3) == LlamaConfig(
        vocab=151_936, width=1024, layers=28, heads=16, kv_heads=8, head_width=128, ff=3072, rope_theta=1e6,
        positions=40_960, qkv_bias=False, qk_norm=True, start_token=151_643, end_token=151_645,
    )  # fmt: skip
    scaling = RopeScaling("llama3", 32.0, 8192)
    assert llama.config(LLAMA32) == LlamaConfig(
        vocab=128_256, width=2048, layers=16, heads=32, kv_heads=8, head_width=64, ff=8192, rope_theta=5e5,
        rope_scaling=scaling, positions=131_072, norm_eps=1e-5, qkv_bias=False, start_token=128_000, end_token=128_001,
    )  # fmt: skip
    first = LlamaConfig(
        vocab=32_000, width=4096, layers=32, heads=32, kv_heads=8, head_width=128, ff=14_336, window=4096,
        norm_eps=1e-5, qkv_bias=False, tie=False,
    )  # fmt: skip
    assert llama.config(MISTRAL) == llama.config(MISTRAL | {"head_dim": 128}) == first
    assert llama.config(MISTRAL | {"sliding_window": None}) == dataclasses.replace(first, window=None)
    assert gpt2.config({"model_type": "gpt2"}) == Gpt2Config()
    large = BartConfig(encoder_layers=12, layers=12, width=1024, encoder_heads=16, heads=16, encoder_ff=4096, ff=4096)
    assert bart.config({"model_type": "bart"}) == large


@pytest.mark.parametrize(
    ("four", "five"),
    [
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, {"rope_type": "linear", "factor": 2.0}),
        (
            {"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32_768}},
            {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32_768},
        ),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, {"rope_type": "yarn", "factor": 4.0}),
        ({"rope_scaling": {"rope_type": "default"}}, {"rope_type": "default"}),
    ],
)
def test_both_spellings_of_rotary_positions(four, five):
    bare = {key: value for key, value in QWEN25.items() if key != "rope_theta"}
    cfg = llama.config(QWEN25 | four)
    assert cfg == llama.config(bare | {"rope_parameters": five | {"rope_theta": 1e6}})
    assert cfg.rope_theta == 1e6
    assert (cfg.rope_scaling is None) == (five["rope_type"] == "default")
    assert llama.config(llama.to_json(cfg)) == cfg


def test_both_spellings_of_windows():
    some = QWEN25 | {"num_hidden_layers": 4, "sliding_window": 99}
    assert llama.config(some | {"max_window_layers": 2}).window is None
    by_number = llama.config(some | {"use_sliding_window": True, "max_window_layers": 3})
    kinds = ["full_attention"] * 3 + ["sliding_attention"]
    by_list = llama.config(some | {"use_sliding_window": True, "max_window_layers": 1, "layer_types": kinds})
    assert by_number == by_list
    assert (by_number.window, by_number.window_from) == (99, 3)
    assert llama.config(some | {"use_sliding_window": True, "max_window_layers": 4}).window is None


def test_options_that_are_not_implemented_are_named():
    with pytest.raises(ValueError, match=r"model_type='mixtral' .*implemented: qwen2, qwen3, llama, mistral"):
        llama.config(QWEN25 | {"model_type": "mixtral"})
    rope = {"rope_type": "dynamic", "factor": 2.0, "partial_rotary_factor": 0.5}
    wrong = {"hidden_act": "tanh", "rope_scaling": rope, "eos_token_id": None, "num_key_value_heads": 3}
    said = (
        r"hidden_act='tanh'.*eos_token_id=None.*num_attention_heads=14 is not a multiple of num_key_value_heads=3.*"
        r"rope_type='dynamic' \(implemented: default, linear, llama3, yarn\).*partial_rotary_factor=0.5"
    )
    with pytest.raises(ValueError, match=said):
        llama.config(QWEN25 | wrong)
    mixed = ["full_attention", "sliding_attention"] * 12
    with pytest.raises(ValueError, match=r"layer_types=.*no sliding_window in use"):
        llama.config(QWEN25 | {"layer_types": mixed})
    with pytest.raises(ValueError, match=r"rope_parameters by layer type: full_attention"):
        llama.config(QWEN25 | {"rope_parameters": {"full_attention": {"rope_type": "default"}}})
    with pytest.raises(ValueError, match=r"low_freq_factor=None.*high_freq_factor=None"):
        llama.config(LLAMA32 | {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}})
    for end in (None, [], [None]):
        with pytest.raises(ValueError, match=r"eos_token_id=.*a token's id, which ends a caption"):
            gpt2.config({"eos_token_id": end})
    with pytest.raises(
        ValueError, match=r"activation_function='tanh'.*scale_attn_by_inverse_layer_idx=True.*n_embd=10"
    ):
        gpt2.config({"n_embd": 10, "n_head": 3, "activation_function": "tanh", "scale_attn_by_inverse_layer_idx": True})
    with pytest.raises(ValueError, match=r"model_type='mbart'.*tie_word_embeddings=False.*decoder_attention_heads=3"):
        bart.config({"model_type": "mbart", "tie_word_embeddings": False, "d_model": 16, "decoder_attention_heads": 3})


def test_our_own_decoder_is_exported_as_what_it_is():
    own = LlamaConfig(qkv_bias=False)
    assert llama.to_json(own)["model_type"] == "llama"
    assert llama.config(llama.to_json(own)) == own
    assert llama.to_json(LlamaConfig())["model_type"] == "qwen2"
    for mistral in (LlamaConfig(qkv_bias=False, window=5), LlamaConfig(qkv_bias=False, width=130)):
        assert llama.to_json(mistral)["model_type"] == "mistral"
        assert llama.config(llama.to_json(mistral)) == mistral
    for strange in (
        LlamaConfig(o_bias=True, qkv_bias=False),
        LlamaConfig(mlp_bias=True),
        LlamaConfig(qkv_bias=False, window=5, window_from=1),
        LlamaConfig(qkv_bias=False, width=130, mlp_bias=True),
        LlamaConfig(qk_norm=True, o_bias=False),
    ):
        with pytest.raises(ValueError, match="transformers has no such decoder"):
            llama.to_json(strange)
