"""Language models of `transformers` compute the same here, and go back to directories that it reads."""

import dataclasses
import functools
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import serialization

from emojax.config import BartConfig, DecoderConfig, Gpt2Config, LlamaConfig, Sampling
from emojax.decoder import lm
from emojax.decoder.captioner import shifted
from emojax.decoder.logits import logits
from emojax.decoder.sample import Drawing, noise, rollout
from emojax.hub import weights
from emojax.training.tokens import Read, Rule, token_scores
from emojax.types import Array, Prefix
from support import decoder_models
from support.decoder_models import MODELS

torch = pytest.importorskip("torch", reason="parity with torch")

SOME = ["qwen2-window", "qwen3", "llama3", "mistral-window", "gpt2", "bart"]  # one of each kind


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    @functools.cache
    def saved(name: str) -> Path:
        path = tmp_path_factory.mktemp(name)
        decoder_models.make(name).save_pretrained(path)
        return path

    return saved


@functools.partial(jax.jit, static_argnames=("cfg", "remat"))
def read(p: lm.Lm, prefix: Prefix, ids: Array, cfg: DecoderConfig, remat: bool = False) -> tuple[Array, Array]:
    hidden = lm.suffix(p, lm.prefill(p, prefix, cfg, remat), prefix.mask, ids, cfg, remat)
    return hidden, logits(hidden, lm.head(p), cfg.vocab)


@functools.partial(jax.jit, static_argnames=("length", "sampling", "cfg", "group"))
def write(p: lm.Lm, prefix: Prefix, length: int, sampling: Sampling | None, cfg: DecoderConfig, group: int):
    cache, clip = lm.prefill(p, prefix, cfg), jnp.arange(len(prefix.mask), dtype=jnp.uint32)
    keys = noise(jax.random.key(0), clip, group)
    return rollout(p, cache, prefix.mask, keys, length=length, how=Drawing(sampling), sizes=cfg)


def theirs(model, prefix: Prefix, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hidden states and logits of captions i32[B G T], each clip by itself."""
    hidden, scores = [], []
    with torch.no_grad():
        for embed, mask, own in zip(prefix.embed, prefix.mask, ids, strict=True):
            out = model(**decoder_models.inputs(model, embed, mask, own), output_hidden_states=True)
            states = out.decoder_hidden_states if model.config.is_encoder_decoder else out.hidden_states
            hidden.append(states[-1][:, -own.shape[1] :].numpy())
            scores.append(out.logits[:, -own.shape[1] :].numpy())
    return np.stack(hidden), np.stack(scores)


def assert_close(ours, theirs, share: float = 1e-5) -> None:
    np.testing.assert_allclose(ours, theirs, atol=share * np.abs(theirs).max(), rtol=0)


@pytest.mark.parametrize("name", MODELS)
def test_a_caption_after_its_prefix_is_read_as_transformers_reads_it(name, directory):
    model = decoder_models.make(name)
    cfg = dataclasses.replace(decoder_models.config(directory(name)), padding=5)
    p = decoder_models.load(directory(name), cfg)
    assert p.embed.shape[0] == cfg.vocab + 5
    prefix, ids = decoder_models.prefix(cfg.width), decoder_models.captions(model)
    hidden, scores = read(p, prefix, ids, cfg)
    wanted_hidden, wanted = theirs(model, prefix, ids)
    assert_close(hidden, wanted_hidden)
    assert_close(scores[..., : cfg.vocab], wanted)
    assert (np.asarray(scores[..., cfg.vocab :]) < -1e29).all(), "padding of the vocabulary could be drawn"
    assert wanted.std(-1).mean() > 0.7, "the distributions are flat: the test proves nothing"
    with torch.no_grad():
        embedded = model.get_input_embeddings()(torch.tensor(ids)).numpy()
    assert_close(lm.embed(p, ids, cfg, np.float32), embedded, 1e-6)


@pytest.mark.parametrize("name", SOME)
def test_32_greedy_tokens_are_those_of_transformers(name, directory):
    model, cfg = decoder_models.make(name), decoder_models.config(directory(name))
    p, whole = decoder_models.load(directory(name), cfg), decoder_models.prefix(cfg.width)
    out = write(p, whole, 32, None, dataclasses.replace(cfg, end_token=cfg.vocab), 1)
    start = np.full((1, 1), cfg.start_token, np.int32)
    for row in range(3):
        given = decoder_models.inputs(model, whole.embed[row], whole.mask[row], start)
        free = {"eos_token_id": None, "forced_eos_token_id": None, "pad_token_id": 0}
        wanted = model.generate(**given, max_new_tokens=32, do_sample=False, num_beams=1, **free)[0].numpy()
        np.testing.assert_array_equal(out.ids[row, 0], wanted[-32:])
    assert len(np.unique(out.ids)) > 5, "always the same tokens: the test proves nothing"


@pytest.mark.parametrize("name", ["qwen2-window", "qwen3", "gpt2", "bart-scaled"])
def test_decoding_with_a_cache_equals_reading_at_once(name, directory):
    cfg = dataclasses.replace(decoder_models.config(directory(name)), padding=5)
    p, prefix = decoder_models.load(directory(name), cfg), decoder_models.prefix(cfg.width)
    how = Sampling(temperature=1.7)
    out = write(p, prefix, 7, how, cfg, 2)
    hidden, _ = read(p, prefix, shifted(out.ids, cfg.start_token), cfg)
    again = token_scores(Read(hidden, lm.head(p)), out.ids, out.mask, Rule(cfg.vocab, how))
    assert out.mask.sum() > 30
    assert (np.asarray(out.ids) < cfg.vocab).all()
    np.testing.assert_allclose(np.where(out.mask, again.logp, 0), out.logp, atol=3e-5)


@pytest.mark.parametrize("name", ["qwen3", "gpt2", "bart-scaled"])
def test_types_of_weights_and_activations_may_differ(name, directory):
    cfg = dataclasses.replace(decoder_models.config(directory(name)), padding=5)
    p, prefix = decoder_models.load(directory(name), cfg), decoder_models.prefix(cfg.width)
    ids = decoder_models.captions(decoder_models.make(name))
    half = jax.tree.map(lambda w: w.astype(jnp.bfloat16), p)
    wide = jax.tree.map(lambda w: w.astype(jnp.float32), half)
    got, wanted = read(half, prefix, ids, cfg)[0], read(wide, prefix, ids, cfg)[0]
    assert got.dtype == jnp.float32
    assert_close(got, wanted, 1e-5)
    low = prefix.replace(embed=jnp.asarray(prefix.embed, jnp.bfloat16))
    shapes = (
        jax.eval_shape(functools.partial(lm.prefill, sizes=cfg), p, low),
        jax.eval_shape(lambda p, x: read(p, x, ids, cfg)[0], p, low),
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize("name", MODELS)
def test_saved_again_it_is_the_same_model(name, directory, tmp_path):
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    cfg = decoder_models.config(directory(name))
    family, padded = lm.family(cfg), dataclasses.replace(cfg, padding=7)
    p = decoder_models.load(directory(name), padded)
    weights.write(tmp_path, p, family.names(padded))
    (tmp_path / "config.json").write_text(json.dumps(family.to_json(padded)))
    (tmp_path / "generation_config.json").write_text(json.dumps(family.generation_json(padded)))
    assert decoder_models.config(tmp_path) == cfg
    jax.tree.map(np.testing.assert_array_equal, p, decoder_models.load(tmp_path, padded))
    auto = AutoModelForSeq2SeqLM if isinstance(cfg, BartConfig) else AutoModelForCausalLM
    back, report = auto.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert back.__class__.__name__ == family.to_json(cfg)["architectures"][0]
    assert (back.generation_config.eos_token_id, back.generation_config.bos_token_id) == (
        cfg.end_token,
        cfg.start_token,
    )
    model, ids = decoder_models.make(name), decoder_models.captions(back)
    prefix = decoder_models.prefix(cfg.width)
    for ours, wanted in zip(theirs(back.eval(), prefix, ids), theirs(model, prefix, ids), strict=True):
        assert_close(ours, wanted, 1e-6)


@pytest.mark.parametrize("name", ["qwen2", "llama", "gpt2", "bart"])
def test_files_of_the_bare_model_and_of_older_versions(name, directory, tmp_path):
    from safetensors.numpy import load_file, save_file

    cfg = decoder_models.config(directory(name))
    wanted = decoder_models.load(directory(name), cfg)
    shutil.copytree(directory(name), tmp_path / "bare")
    tensors = load_file(directory(name) / "model.safetensors")
    bare = {key.removeprefix("model.").removeprefix("transformer."): x for key, x in tensors.items()}
    one = np.zeros(1, np.float32)
    bare |= {
        "qwen2": {"layers.0.self_attn.rotary_emb.inv_freq": one, "lm_head.weight": one},
        "llama": {"rotary_emb.inv_freq": one, "layers.0.self_attn.rotary_emb.inv_freq": one},
        "gpt2": {"h.0.attn.bias": np.ones((1, 1), bool), "h.1.attn.masked_bias": one, "lm_head.weight": one},
        "bart": {"encoder.embed_tokens.weight": one, "decoder.embed_tokens.weight": one, "lm_head.weight": one}
        | {"final_logits_bias": one, "encoder.version": one, "classification_head.dense.weight": one},
    }[name]
    save_file(bare, tmp_path / "bare" / "model.safetensors")
    jax.tree.map(np.testing.assert_array_equal, wanted, decoder_models.load(tmp_path / "bare", cfg))
    save_file(bare | {"layers.0.adapter.weight": one}, tmp_path / "bare" / "model.safetensors")
    with pytest.raises(ValueError, match=r"unused +layers\.0\.adapter\.weight"):
        decoder_models.load(tmp_path / "bare", cfg)


def test_trees_of_older_checkpoints_are_the_same():
    tree = serialization.to_state_dict(lm.declare(LlamaConfig()))
    assert tree.keys() == {"embed", "layers", "norm", "head"}
    assert tree["layers"].keys() == {"attention_norm", "attention", "mlp_norm", "mlp"}
    assert tree["layers"]["attention"].keys() == set("qkvo")
    assert tree["layers"]["mlp"].keys() == {"gate", "up", "down"}


@pytest.mark.parametrize(
    ("cfg", "room"),
    [
        (LlamaConfig(width=8, heads=2, kv_heads=1, head_width=4, ff=8, layers=1, vocab=9, positions=12), 3),
        (Gpt2Config(width=8, heads=2, ff=8, layers=1, vocab=9, positions=12), 3),
        (
            BartConfig(
                width=8, heads=2, encoder_heads=2, ff=8, encoder_ff=8, layers=1, encoder_layers=1, vocab=9, positions=9
            ),
            9,
        ),
    ],
    ids=["decoder", "gpt2", "bart"],
)
def test_what_is_longer_than_the_positions_is_refused(cfg: DecoderConfig, room: int):
    p = jax.tree.map(lambda w: jnp.zeros(w.shape), lm.declare(cfg))
    prefix = decoder_models.prefix(8)
    read(p, prefix, np.zeros((3, 1, room), int), cfg)
    with pytest.raises(
        ValueError, match=f"prefix of 9 positions and a caption of {room + 1} .* {cfg.positions} positions"
    ):
        read(p, prefix, np.zeros((3, 1, room + 1), int), cfg)
    with pytest.raises(ValueError, match=f"caption of {room + 1} "):
        write(p, prefix, room + 1, None, cfg, 1)
    with pytest.raises(ValueError, match="prefix of 13 positions"):
        read(p, decoder_models.prefix(8, positions=13), np.zeros((3, 1, 1), int), cfg)
