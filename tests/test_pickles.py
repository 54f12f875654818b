"""The command that an error gives for weights that are a pickle makes safetensors of them, with the head."""

import json
import shlex
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from emojax.decoder import bart, gpt2, llama
from emojax.encoders import wav2vec2
from emojax.hub import weights

torch = pytest.importorskip("torch", reason="what wrote the pickle")
transformers = pytest.importorskip("transformers")

SIZES = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 64}
BART = {"d_model": 8, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8, "vocab_size": 64, "decoder_layers": 1}
BART |= {"encoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
SPEECH = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "conv_dim": (8,) * 7}
MODELS: dict[str, tuple[Any, str, dict]] = {
    "qwen2": (llama, "Qwen2ForCausalLM", SIZES | {"num_key_value_heads": 1, "tie_word_embeddings": False}),
    "gpt2": (gpt2, "GPT2LMHeadModel", {"n_embd": 8, "n_layer": 1, "n_head": 2, "vocab_size": 64}),
    "bart": (bart, "BartForConditionalGeneration", BART),
    "hubert": (wav2vec2, "HubertModel", SIZES | SPEECH),
}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("architectures", [None, ["EmotionModel"]])
def test_the_command_works_whatever_the_architectures_are(kind: str, architectures: Any, tmp_path: Path) -> None:
    """Null, or a class of somebody's own, as many a speech-emotion model has it."""
    family, name, sizes = MODELS[kind]
    theirs = transformers.AutoConfig.for_model(kind, **sizes, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    getattr(transformers, name)(theirs).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"architectures": architectures}))
    cfg = family.config(config, {}) if family is wav2vec2 else family.config(config)

    def read() -> Any:
        declared = family.declare(cfg)
        return weights.read(tmp_path, getattr(declared, "backbone", declared), family.names(cfg))

    before = read()
    tensors = {name: torch.from_numpy(x.copy()) for name, x in load_file(tmp_path / "model.safetensors").items()}
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="are a pickle") as error:
        read()
    python, c, code = shlex.split(str(error.value).partition("torch is installed: ")[2])
    assert (python, c) == ("python", "-c")
    exec(code, {})
    assert jax.tree.all(jax.tree.map(np.array_equal, before, read()))
