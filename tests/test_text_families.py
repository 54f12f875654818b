"""BERT, RoBERTa, XLM-R, CamemBERT, DistilBERT, ERNIE, MPNet and Qwen3 as encoders of texts are those of transformers,
and their files are read and written."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from emojax.config import BertConfig, MpnetConfig
from emojax.encoders import bert, mpnet
from emojax.hub import weights
from emojax.rewards import sentence

torch = pytest.importorskip("torch", reason="parity with torch")
transformers = pytest.importorskip("transformers")

from support.text_models import MODELS, random_model, same  # noqa: E402 - it needs torch


def read(root: Path, file: Path | None = None):
    """(family, configuration, weights) of a directory of transformers."""
    config = json.loads((root / "config.json").read_text())
    family = mpnet if config["model_type"] == "mpnet" else bert
    cfg = family.config(config)
    return family, cfg, weights.read(file or root, family.declare(cfg), family.names(cfg))


@pytest.mark.parametrize("name", MODELS)
def test_encoder_equals_transformers(tmp_path, name):
    model = random_model(name)
    model.save_pretrained(tmp_path)
    family, cfg, params = read(tmp_path)
    r = np.random.default_rng(0)
    padding, longest = model.config.pad_token_id, cfg.positions - cfg.first_position
    ids = r.integers(0, 43, (7, longest))
    mask = np.arange(longest) < r.integers(1, longest + 1, (7, 1))
    mask[0], mask[1] = True, mask[1, ::-1]  # the second is padded before it
    ids[~mask] = padding
    ids[0, 3] = padding  # the padding token as one of a text
    with torch.no_grad():
        theirs = model(torch.tensor(ids), torch.tensor(mask)).last_hidden_state.numpy()
    ours = np.asarray(jax.jit(family.encode, static_argnums=3)(params, ids, mask, cfg))
    np.testing.assert_allclose(ours[mask], theirs[mask], atol=1e-5, rtol=1e-5)
    assert ours.dtype == np.float32

    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    ours = family.encode(half, ids, mask, cfg)
    assert ours.dtype == jnp.bfloat16
    assert np.abs(np.asarray(ours, np.float32) - theirs)[mask].mean() < 0.05 * np.abs(theirs).mean()


KINDS = ["bert", "roberta", "xlm-roberta", "camembert", "distilbert", "ernie", "mpnet"]


@pytest.mark.parametrize("name", KINDS)
def test_written_weights_are_the_ones_read_and_transformers_reads_them(tmp_path, name):
    model = random_model(name)
    model.save_pretrained(tmp_path)
    family, cfg, params = read(tmp_path)
    theirs = load_file(tmp_path / "model.safetensors")
    weights.write(tmp_path, params, family.names(cfg))
    ours = load_file(tmp_path / "model.safetensors")
    assert {key for key in theirs if not key.startswith("pooler.")} == set(ours)
    assert all((theirs[key] == ours[key]).all() for key in ours)
    assert same(read(tmp_path)[2], params)
    again, missing = transformers.AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert all(key.startswith("pooler.") for key in missing["missing_keys"])
    ids = torch.arange(5, 17)[None]
    with torch.no_grad():
        assert torch.equal(again.eval()(ids).last_hidden_state, model(ids).last_hidden_state)


@pytest.mark.parametrize("name", ["bert", "xlm-roberta", "distilbert", "ernie", "mpnet"])
def test_files_of_whole_pretraining_models_and_old_names_are_read(tmp_path, name):
    model = random_model(name)
    model.save_pretrained(tmp_path)
    params = read(tmp_path)[2]
    prefix, head = {
        "bert": ("bert.", "cls.predictions"),
        "ernie": ("ernie.", "cls.predictions"),
        "distilbert": ("distilbert.", "vocab_projector"),
        "mpnet": ("mpnet.", "lm_head"),
    }.get(name, ("roberta.", "lm_head"))
    tensors = {prefix + key: x for key, x in load_file(tmp_path / "model.safetensors").items()}
    tensors = {
        key.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): x for key, x in tensors.items()
    }
    tensors |= {prefix + "embeddings.position_ids": np.arange(9)[None], f"{head}.bias": np.zeros(43, np.float32)}
    save_file(tensors, tmp_path / "old.safetensors")
    assert same(read(tmp_path, tmp_path / "old.safetensors")[2], params)


@pytest.mark.parametrize("name", KINDS)
def test_a_config_that_says_nothing_has_the_defaults_of_transformers(name):
    kind, _ = MODELS[name]
    model_type = {"model_type": name}
    family = mpnet if name == "mpnet" else bert
    full = getattr(transformers, f"{kind}Config")().to_dict()
    assert family.config(model_type) == family.config(full)
    assert family.config(full).norm_eps == 1e-12


def test_published_configs_are_the_sizes_that_are_known():
    """What the hub's config.json files say of sizes; the keys that say nothing of them are left out here."""
    base = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
    base |= {"max_position_embeddings": 514, "layer_norm_eps": 1e-05, "hidden_act": "gelu", "pad_token_id": 1}
    multilingual = base | {"model_type": "xlm-roberta", "type_vocab_size": 1, "vocab_size": 250002}
    assert bert.config(multilingual | {"position_embedding_type": "absolute", "output_past": True}) == BertConfig(
        "xlm-roberta", 250_002, 768, 12, 12, 3072, positions=514, first_position=2, types=1, norm_eps=1e-5
    )
    mpnet_base = base | {"model_type": "mpnet", "relative_attention_num_buckets": 32, "vocab_size": 30527}
    assert mpnet.config(mpnet_base) == MpnetConfig()


def test_options_that_are_not_implemented_are_named():
    with pytest.raises(ValueError, match=r"hidden_act='gelu_fast'.*implemented: gelu, gelu_new") as error:
        mpnet.config({"model_type": "mpnet", "hidden_act": "gelu_fast", "relative_attention_num_buckets": 64})
    assert "relative_attention_num_buckets=64 (implemented: 32)" in str(error.value)
    with pytest.raises(ValueError, match=r"pad_token_id=None.*implemented: a token's id"):
        bert.config({"model_type": "roberta", "pad_token_id": None})


def test_distances_fall_into_the_buckets_of_transformers():
    distance = np.arange(-700, 701)
    theirs = transformers.models.mpnet.modeling_mpnet.MPNetEncoder.relative_position_bucket(torch.tensor(distance))
    np.testing.assert_array_equal(mpnet.bucket(jnp.asarray(distance)), theirs.numpy())


@pytest.mark.parametrize("cfg", [BertConfig(vocab=50), MpnetConfig(vocab=50, layers=2)])
def test_the_shapes_alone_are_those_of_the_weights(cfg):
    shapes, static = sentence.abstract(cfg, max_tokens=24)
    family = mpnet if isinstance(cfg, MpnetConfig) else bert
    assert jax.tree.map(lambda x: x.shape, shapes.encoder) == jax.tree.map(lambda p: p.shape, family.declare(cfg))
    ids, mask = jax.ShapeDtypeStruct((3, 22), jnp.int32), jax.ShapeDtypeStruct((3, 22), bool)
    embed = functools.partial(sentence.embed, settings=static)
    assert jax.eval_shape(embed, shapes, ids=ids, mask=mask).shape == (3, static.width)
    with pytest.raises(ValueError, match=r"texts of 513 tokens.*reads 512"):
        sentence.abstract(cfg, max_tokens=513)
