"""Random language models of `transformers`, of odd sizes, with every option that is implemented; for parity tests."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from emojax.config import DecoderConfig
from emojax.decoder import lm
from emojax.decoder.bart import config as bart_config
from emojax.decoder.gpt2 import config as gpt2_config
from emojax.decoder.llama import config as llama_config
from emojax.hub import weights
from emojax.types import Prefix

LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "original_max_position_embeddings": 16}
MSCALE = YARN | {"mscale": 0.7, "mscale_all_dim": 1.3, "beta_fast": 9.0, "beta_slow": 0.5}
LINEAR = {"rope_type": "linear", "rope_theta": 1e6, "factor": 2.5}


def _llama(kind: str, width: int, heads: int, kv_heads: int | None, **fields: Any) -> dict[str, Any]:
    return {
        "model_type": kind, "vocab_size": 71, "hidden_size": width, "num_hidden_layers": 2, "intermediate_size": 29,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "max_position_embeddings": 128,
        "bos_token_id": 3, "eos_token_id": 5, "pad_token_id": None,
    } | fields  # fmt: skip


def _window(size: int, start: int) -> dict[str, Any]:
    return {"use_sliding_window": True, "sliding_window": size, "max_window_layers": start}


def _gpt2(width: int, heads: int, **fields: Any) -> dict[str, Any]:
    return {
        "model_type": "gpt2", "vocab_size": 67, "n_embd": width, "n_head": heads, "n_layer": 2, "n_positions": 64,
        "bos_token_id": 4, "eos_token_id": 4, "pad_token_id": None,
    } | fields  # fmt: skip


def _bart(width: int, heads: tuple[int, int], layers: tuple[int, int], ff: tuple[int, int], **fields: Any) -> dict:
    return {
        "model_type": "bart", "vocab_size": 73, "d_model": width, "max_position_embeddings": 40,
        "encoder_attention_heads": heads[0], "decoder_attention_heads": heads[1], "encoder_layers": layers[0],
        "decoder_layers": layers[1], "encoder_ffn_dim": ff[0], "decoder_ffn_dim": ff[1], "eos_token_id": 2,
        "decoder_start_token_id": 2, "bos_token_id": 0, "pad_token_id": 1,
    } | fields  # fmt: skip


MODELS: dict[str, dict[str, Any]] = {
    "qwen2": _llama("qwen2", 36, 6, 2, num_hidden_layers=3, tie_word_embeddings=True, rms_norm_eps=1e-3),
    "qwen2-window": _llama("qwen2", 24, 4, 1, num_hidden_layers=3, hidden_act="gelu", **_window(5, 1)),
    "qwen2-yarn": _llama("qwen2", 24, 2, 2, head_dim=18, rope_parameters=YARN, tie_word_embeddings=True),
    "qwen3": _llama("qwen3", 35, 5, 1, head_dim=8, attention_bias=True, rope_parameters=LINEAR),
    "qwen3-window": _llama("qwen3", 18, 3, 3, head_dim=10, tie_word_embeddings=True, **_window(4, 0)),
    "llama3": _llama("llama", 30, 5, None, attention_bias=True, mlp_bias=True, rope_parameters=LLAMA3),
    "llama": _llama("llama", 28, 4, 2, head_dim=14, tie_word_embeddings=True, num_hidden_layers=1),
    "llama-yarn": _llama("llama", 24, 3, 1, mlp_bias=True, rope_parameters=MSCALE, hidden_act="relu"),
    "mistral": _llama("mistral", 33, 5, 1, head_dim=8, sliding_window=None),
    "mistral-window": _llama("mistral", 24, 4, 2, num_hidden_layers=3, sliding_window=4, tie_word_embeddings=True),
    "gpt2": _gpt2(30, 5, n_layer=3),
    "gpt2-relu": _gpt2(14, 2, n_inner=23, activation_function="relu", layer_norm_epsilon=1e-2),
    "gpt2-one-head": _gpt2(9, 1, n_layer=1, activation_function="gelu"),
    "bart": _bart(24, (4, 3), (1, 3), (19, 50)),
    "bart-scaled": _bart(20, (2, 5), (2, 1), (40, 11), scale_embedding=True, activation_function="gelu_new"),
    "bart-square": _bart(15, (1, 1), (3, 2), (30, 30), activation_function="relu"),
}


def make(name: str, seed: int = 0) -> Any:
    """The torch model: no bias is near zero, no norm's scale near one, and its distributions are far from flat."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    torch.set_num_threads(1)
    cfg = AutoConfig.for_model(**MODELS[name])
    model = (AutoModelForSeq2SeqLM if cfg.is_encoder_decoder else AutoModelForCausalLM).from_config(cfg)
    g = torch.Generator().manual_seed(seed)
    # beside learned positions tokens and maps are smaller: else every caption repeats one token
    tokens, rest = (0.7, 0.35) if "num_key_value_heads" in MODELS[name] else (0.3, 0.15)
    scales = {"positions": 1.0, "wpe": 1.0, "embed_tokens": tokens, "shared": tokens, "wte": tokens, "lm_head": 0.7}
    with torch.no_grad():
        for at, p in model.named_parameters():
            x = torch.randn(p.shape, generator=g)
            scale = next((scale for word, scale in scales.items() if word in at), rest)
            p.copy_(1 + 0.4 * x if p.ndim == 1 and "weight" in at else scale * x)
    return model.eval()


def config(path: Path) -> DecoderConfig:
    """Ours, of a directory."""
    found = json.loads((path / "config.json").read_text())
    read = {"gpt2": gpt2_config, "bart": bart_config}.get(found["model_type"], llama_config)
    return read(found)


def load(path: Path, cfg: DecoderConfig) -> Any:
    return weights.read(path, lm.declare(cfg), lm.family(cfg).names(cfg))


def prefix(width: int, clips: int = 3, positions: int = 9, seed: int = 1) -> Prefix:
    """The first clip without padding, the second with padding at its end, the third with holes."""
    r = np.random.default_rng(seed)
    mask = np.ones((clips, positions), bool)
    mask[1, positions - 3 :] = False
    mask[2, [0, 3, 4, positions - 1]] = False
    return Prefix(r.normal(size=(clips, positions, width)).astype(np.float32), mask)


def captions(model: Any, clips: int = 3, group: int = 2, length: int = 7, seed: int = 2) -> np.ndarray:
    """i32[B G T] without the ids that these configurations have for padding: torch gives their rows no gradient."""
    r = np.random.default_rng(seed)
    return r.integers(2, model.config.vocab_size, (clips, group, length)).astype(np.int32)


def inputs(model: Any, embed: Any, mask: np.ndarray, ids: np.ndarray) -> dict[str, Any]:
    """What the torch model reads for one clip's captions i32[G T]: no padding is there at all."""
    import torch

    kept, ids = torch.as_tensor(embed)[mask].expand(len(ids), -1, -1), torch.tensor(ids, dtype=torch.long)
    if model.config.is_encoder_decoder:
        return {"inputs_embeds": kept, "decoder_input_ids": ids}
    return {"inputs_embeds": torch.cat([kept, model.get_input_embeddings()(ids)], 1)}
