"""Reward models of Qwen3-Embedding's kind, small and random: a byte-level BPE tokenizer with Qwen's words and normal
form, an end token alone around a text, texts padded on the left, the last vector at unit length."""

import functools
import json
from pathlib import Path

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from emojax.text.qwen_words import PATTERN
from test_retokenize import byte_level, every_form

END, CONTROL = "<|endoftext|>", ["<think>", "</tool_call>"]
WIDTH = 20


@functools.cache
def _learned() -> str:
    learner = byte_level(models.BPE())
    learner.normalizer = normalizers.NFC()
    words = pre_tokenizers.Split(Regex(PATTERN), "isolated")
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    learner.pre_tokenizer = pre_tokenizers.Sequence([words, bytes_])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    learner.train_from_iterator(every_form(), trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet))
    learner.add_special_tokens([END, "<|im_start|>"])
    learner.add_tokens([AddedToken(token, normalized=False) for token in CONTROL])
    end = (END, learner.token_to_id(END))
    ended = processors.TemplateProcessing(single=f"$A {END}", pair=f"$A $B {END}", special_tokens=[end])
    learner.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), ended])
    return learner.to_str()


def tokenizer() -> Tokenizer:
    return Tokenizer.from_str(_learned())


def directory(root: Path) -> Path:
    """A sentence-transformers directory as that of Qwen3-Embedding; needs torch and transformers."""
    torch = pytest.importorskip("torch", reason="parity with torch")
    import transformers

    made = tokenizer()
    made.save(str(root / "tokenizer.json"))
    kinds = ["Transformer", "Pooling", "Normalize"]
    pooling = {"word_embedding_dimension": WIDTH, "pooling_mode_lasttoken": True, "include_prompt": True}
    files = {
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "padding_side": "left"}
        | {"eos_token": "<|im_start|>", "pad_token": END, "model_max_length": 120},
        "modules.json": [
            {"idx": i, "name": str(i), "path": f"{i}_{k}" if i else "", "type": f"sentence_transformers.models.{k}"}
            for i, k in enumerate(kinds)
        ],
        "1_Pooling/config.json": pooling | {"pooling_mode_mean_tokens": False},
        "config_sentence_transformers.json": {
            "prompts": {"query": "Instruct: find\nQuery:", "document": ""},
            "default_prompt_name": None,
        },
    }
    for name, content in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(json.dumps(content))
    (root / "2_Normalize").mkdir()
    config = transformers.Qwen3Config(
        vocab_size=made.get_vocab_size() + 3,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=1,
        head_dim=6,
        intermediate_size=37,
        max_position_embeddings=140,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=made.token_to_id("<|im_start|>"),
    )
    model = transformers.Qwen3ForCausalLM(config).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.25)
    model.model.save_pretrained(root)  # as published: the names have no "model."
    return root
