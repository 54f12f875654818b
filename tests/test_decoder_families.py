"""Language models of `transformers` compute the same here, and go back to directories that it reads."""

import dataclasses
import functools
import json
import shutil
from pathlib import Path

import decoder_models
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decoder_models import MODELS
from flax import serialization

from emojax import weights
from emojax.config import Sampling
from emojax.decoder import bart, gpt2, llama, lm
from emojax.decoder.captioner import shifted
from emojax.decoder.sample import rollout
from emojax.decoder.support import logits
from emojax.families import Bart, Decoder, Gpt2, RopeScaling, Writes
from emojax.training.losses import token_scores
from emojax.types import Array, Prefix

torch = pytest.importorskip("torch", reason="parity with torch")

SOME = ["qwen2-window", "qwen3", "llama3", "gpt2", "bart"]  # one of each kind


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    @functools.cache
    def saved(name: str) -> Path:
        path = tmp_path_factory.mktemp(name)
        decoder_models.make(name).save_pretrained(path)
        return path

    return saved


@functools.partial(jax.jit, static_argnames=("cfg", "remat"))
def read(p: lm.Lm, prefix: Prefix, ids: Array, cfg: Writes, remat: bool = False) -> tuple[Array, Array]:
    hidden = lm.suffix(p, lm.prefill(p, prefix, cfg, remat), prefix.mask, ids, cfg, remat)
    return hidden, logits(hidden, lm.head(p), cfg.vocab)


@functools.partial(jax.jit, static_argnames=("length", "sampling", "cfg", "group"))
def write(p: lm.Lm, prefix: Prefix, length: int, sampling: Sampling | None, cfg: Writes, group: int):
    cache, clip = lm.prefill(p, prefix, cfg), jnp.arange(len(prefix.mask), dtype=jnp.uint32)
    how = {"group": group, "length": length, "sampling": sampling, "cfg": cfg}
    return rollout(p, cache, prefix.mask, clip, jax.random.key(0), **how)


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
    again = token_scores(hidden, lm.head(p), out.ids, cfg.vocab, how)
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
        jax.eval_shape(functools.partial(lm.prefill, cfg=cfg), p, low),
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
    auto = AutoModelForSeq2SeqLM if isinstance(cfg, Bart) else AutoModelForCausalLM
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


def test_published_configurations():
    assert llama.config(QWEN25) == Decoder(
        vocab=151_936, width=896, layers=24, heads=14, kv_heads=2, head_width=64, ff=4864, rope_theta=1e6,
        start_token=151_643, end_token=151_645,
    )  # fmt: skip
    assert llama.config(QWEN3) == Decoder(
        vocab=151_936, width=1024, layers=28, heads=16, kv_heads=8, head_width=128, ff=3072, rope_theta=1e6,
        positions=40_960, qkv_bias=False, qk_norm=True, start_token=151_643, end_token=151_645,
    )  # fmt: skip
    scaling = RopeScaling("llama3", 32.0, 8192)
    assert llama.config(LLAMA32) == Decoder(
        vocab=128_256, width=2048, layers=16, heads=32, kv_heads=8, head_width=64, ff=8192, rope_theta=5e5,
        rope_scaling=scaling, positions=131_072, norm_eps=1e-5, qkv_bias=False, start_token=128_000, end_token=128_001,
    )  # fmt: skip
    assert gpt2.config({"model_type": "gpt2"}) == Gpt2()
    large = Bart(encoder_layers=12, layers=12, width=1024, encoder_heads=16, heads=16, encoder_ff=4096, ff=4096)
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
    with pytest.raises(ValueError, match=r"model_type='mistral' .*implemented: qwen2, qwen3, llama"):
        llama.config(QWEN25 | {"model_type": "mistral"})
    rope = {"rope_type": "dynamic", "factor": 2.0, "partial_rotary_factor": 0.5}
    wrong = {"hidden_act": "tanh", "rope_scaling": rope, "eos_token_id": None, "num_key_value_heads": 3}
    said = (
        r"hidden_act='tanh'.*num_attention_heads=14 is not a multiple of num_key_value_heads=3.*eos_token_id=None.*"
        r"rope_type='dynamic' \(implemented: default, linear, llama3, yarn\).*partial_rotary_factor=0.5"
    )
    with pytest.raises(ValueError, match=said):
        llama.config(QWEN25 | wrong)
    mixed = ["full_attention", "sliding_attention"] * 12
    with pytest.raises(ValueError, match=r"layer_types=.*no sliding_window in use"):
        llama.config(QWEN25 | {"layer_types": mixed})
    with pytest.raises(ValueError, match=r"rope_parameters by layer type: full_attention"):
        llama.config(QWEN25 | {"rope_parameters": {"full_attention": {"rope_type": "default"}}})
    with pytest.raises(
        ValueError, match=r"activation_function='tanh'.*scale_attn_by_inverse_layer_idx=True.*n_embd=10"
    ):
        gpt2.config({"n_embd": 10, "n_head": 3, "activation_function": "tanh", "scale_attn_by_inverse_layer_idx": True})
    with pytest.raises(ValueError, match=r"model_type='mbart'.*tie_word_embeddings=False.*decoder_attention_heads=3"):
        bart.config({"model_type": "mbart", "tie_word_embeddings": False, "d_model": 16, "decoder_attention_heads": 3})


def test_trees_of_older_checkpoints_are_the_same():
    tree = serialization.to_state_dict(lm.declare(Decoder()))
    assert tree.keys() == {"embed", "layers", "norm", "head"}
    assert tree["layers"].keys() == {"attention_norm", "attention", "mlp_norm", "mlp"}
    assert tree["layers"]["attention"].keys() == set("qkvo")
    assert tree["layers"]["mlp"].keys() == {"gate", "up", "down"}


def test_our_own_decoder_is_exported_as_what_it_is():
    own = Decoder(qkv_bias=False)
    assert llama.to_json(own)["model_type"] == "llama"
    assert llama.config(llama.to_json(own)) == own
    assert llama.to_json(Decoder())["model_type"] == "qwen2"
    for strange in (
        Decoder(o_bias=True, qkv_bias=False),
        Decoder(mlp_bias=True),
        Decoder(qkv_bias=False, window=5),
        Decoder(qkv_bias=False, width=130),
        Decoder(qk_norm=True, o_bias=False),
    ):
        with pytest.raises(ValueError, match="transformers has no such decoder"):
            llama.to_json(strange)


@pytest.mark.parametrize(
    ("cfg", "room"),
    [
        (Decoder(width=8, heads=2, kv_heads=1, head_width=4, ff=8, layers=1, vocab=9, positions=12), 3),
        (Gpt2(width=8, heads=2, ff=8, layers=1, vocab=9, positions=12), 3),
        (
            Bart(
                width=8, heads=2, encoder_heads=2, ff=8, encoder_ff=8, layers=1, encoder_layers=1, vocab=9, positions=9
            ),
            9,
        ),
    ],
    ids=["decoder", "gpt2", "bart"],
)
def test_what_is_longer_than_the_positions_is_refused(cfg: Writes, room: int):
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
