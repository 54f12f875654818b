"""BERT, RoBERTa, XLM-R, CamemBERT, MPNet are those of transformers; with modules, those of sentence-transformers."""

import dataclasses
import functools
import json
import random
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from emojax import families, weights
from emojax.encoders import bert, mpnet
from emojax.rewards import modules, sentence

torch = pytest.importorskip("torch", reason="parity with torch")
transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)

MODELS = {  # odd sizes; class of the model: what its configuration has
    "bert": ("Bert", {"hidden_act": "gelu_new", "layer_norm_eps": 1e-3}),
    "roberta": ("Roberta", {"hidden_act": "relu", "pad_token_id": 4}),
    "xlm-roberta": ("XLMRoberta", {"type_vocab_size": 1, "layer_norm_eps": 1e-5, "num_attention_heads": 1}),
    "camembert": ("Camembert", {"type_vocab_size": 1, "num_hidden_layers": 1, "hidden_act": "silu"}),
    "mpnet": ("MPNet", {"layer_norm_eps": 1e-5}),
    "mpnet-long": ("MPNet", {"max_position_embeddings": 200, "hidden_act": "quick_gelu", "num_attention_heads": 7}),
}
SIZES = {
    "vocab_size": 43, "hidden_size": 21, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 37,
    "max_position_embeddings": 41,
}  # fmt: skip


def random_model(name: str, **fields):
    """A torch model whose every weight matters: no bias is zero, no norm is one."""
    kind, own = MODELS[name]
    config = getattr(transformers, f"{kind}Config")(**SIZES | own | fields)
    model = getattr(transformers, f"{kind}Model")(config).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.25)
    return model


def read(root: Path, file: Path | None = None):
    """(family, configuration, weights) of a directory of transformers."""
    config = json.loads((root / "config.json").read_text())
    family = mpnet if config["model_type"] == "mpnet" else bert
    cfg = family.config(config)
    return family, cfg, weights.read(file or root, family.declare(cfg), family.names(cfg))


def same(a, b):
    return jax.tree.all(jax.tree.map(lambda x, y: x.shape == y.shape and (np.asarray(x) == np.asarray(y)).all(), a, b))


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


@pytest.mark.parametrize("name", ["bert", "roberta", "xlm-roberta", "camembert", "mpnet"])
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


@pytest.mark.parametrize("name", ["bert", "xlm-roberta", "mpnet"])
def test_files_of_whole_pretraining_models_and_old_names_are_read(tmp_path, name):
    model = random_model(name)
    model.save_pretrained(tmp_path)
    params = read(tmp_path)[2]
    prefix, head = {"bert": ("bert.", "cls.predictions"), "mpnet": ("mpnet.", "lm_head")}.get(
        name, ("roberta.", "lm_head")
    )
    tensors = {prefix + key: x for key, x in load_file(tmp_path / "model.safetensors").items()}
    tensors = {
        key.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): x for key, x in tensors.items()
    }
    tensors |= {prefix + "embeddings.position_ids": np.arange(9)[None], f"{head}.bias": np.zeros(43, np.float32)}
    save_file(tensors, tmp_path / "old.safetensors")
    assert same(read(tmp_path, tmp_path / "old.safetensors")[2], params)


@pytest.mark.parametrize("name", ["bert", "roberta", "xlm-roberta", "camembert", "mpnet"])
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
    assert bert.config(multilingual | {"position_embedding_type": "absolute", "output_past": True}) == families.Bert(
        "xlm-roberta", 250_002, 768, 12, 12, 3072, positions=514, first_position=2, types=1, norm_eps=1e-5
    )
    mpnet_base = base | {"model_type": "mpnet", "relative_attention_num_buckets": 32, "vocab_size": 30527}
    assert mpnet.config(mpnet_base) == families.Mpnet()


def test_options_that_are_not_implemented_are_named():
    with pytest.raises(ValueError, match=r"hidden_act='gelu_fast'.*implemented: 'gelu', 'gelu_new'") as error:
        mpnet.config({"model_type": "mpnet", "hidden_act": "gelu_fast", "relative_attention_num_buckets": 64})
    assert "relative_attention_num_buckets=64 (implemented: 32)" in str(error.value)
    with pytest.raises(ValueError, match=r"pad_token_id=None.*implemented: a token's id"):
        bert.config({"model_type": "roberta", "pad_token_id": None})


def test_distances_fall_into_the_buckets_of_transformers():
    distance = np.arange(-700, 701)
    theirs = transformers.models.mpnet.modeling_mpnet.MPNetEncoder.relative_position_bucket(torch.tensor(distance))
    np.testing.assert_array_equal(mpnet.bucket(jnp.asarray(distance)), theirs.numpy())


WORDS = ["the", "a", "calm", "woman", "man", "speaks", "sounds", "is", "furious", "sad", "trembles", "breathlessly"]
WORDS += ["and", "then", "shouts", "with", "joy"]
FIRST, LAST = ("<s>", 0), ("</s>", 2)


def texts(count: int = 30) -> list[str]:
    r = random.Random(0)
    made = [" ".join(r.choices(WORDS, k=r.randint(1, 12))) for _ in range(count)]
    return ["", "joy", *made, "Ünknown 喜悦 ☃!", "the furious man " * 40]


def wordpiece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=90, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], show_progress=False
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return tokenizer


def unigram() -> Tokenizer:
    """Of the kind of XLM-R's."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    trainer = trainers.UnigramTrainer(
        vocab_size=90,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return tokenizer


def transformer(root: Path, name: str, tokenizer: Tokenizer, **fields) -> Path:
    """A directory of transformers with a model and a tokenizer, texts of 33 tokens at most."""
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{FIRST[0]} $A {LAST[0]}", special_tokens=[FIRST, LAST]
    )
    special = {
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "bos_token": "<s>",
        "cls_token": "<s>",
        "sep_token": "</s>",
        "eos_token": "</s>",
    }
    size = tokenizer.get_vocab_size()
    random_model(name, vocab_size=size, **{"pad_token_id": 1} | fields).save_pretrained(root)
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=33, **special).save_pretrained(
        root
    )
    return root


@pytest.fixture(scope="module")
def library():
    return pytest.importorskip("sentence_transformers", reason="parity with sentence-transformers")


def build(library, root: Path, name: str, tokenizer: Tokenizer, pooling, head: str = "") -> Path:
    """A sentence-transformers directory; `head`: n Normalize, t Dense with tanh, i a plain Dense without bias."""
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

    torch.manual_seed(1)
    width = 21 * (1 if isinstance(pooling, str) else len(pooling))
    parts = [Transformer(str(transformer(root / "parts", name, tokenizer))), Pooling(21, pooling_mode=pooling)]
    for letter in head:
        if letter == "n":
            parts.append(Normalize())
        else:
            parts.append(Dense(width, width - 4, *((True, torch.nn.Tanh()) if letter == "t" else (False, None))))
            width -= 4
    library.SentenceTransformer(modules=parts, device="cpu").save(str(root / "model"))
    return root / "model"


@pytest.mark.parametrize(
    ("name", "tokenizer", "pooling", "head"),
    [
        ("bert", wordpiece, "mean", "n"),
        ("bert", wordpiece, ("max", "lasttoken", "cls"), "tn"),
        ("xlm-roberta", unigram, "mean", ""),
        ("xlm-roberta", unigram, ("weightedmean", "mean_sqrt_len_tokens"), "nitn"),
        ("mpnet", unigram, ("lasttoken", "max", "mean_sqrt_len_tokens", "weightedmean"), "t"),
    ],
)
def test_embeddings_equal_those_of_sentence_transformers(tmp_path, library, name, tokenizer, pooling, head):
    root = build(library, tmp_path, name, tokenizer(), pooling, head)
    theirs = library.SentenceTransformer(str(root), device="cpu").encode(texts(), batch_size=64)
    params, cfg, reads = sentence.load(str(root))
    ours = sentence.embed_texts(params, cfg, reads, texts())
    assert ours.shape == theirs.shape == (len(texts()), cfg.width)
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-5)
    assert (cfg.cls, cfg.sep, cfg.max_tokens) == (0, 2, 33)
    _, mask = sentence.tokenize(reads, texts(), 31)
    assert mask.sum(1).min() == 0  # the empty text
    assert mask.sum(1).max() == 31  # one that is cut


def test_text_that_spells_a_special_token_is_text_to_a_unigram_model(tmp_path):
    root = transformer(tmp_path, "xlm-roberta", unigram())
    plain = Tokenizer.from_file(str(root / "tokenizer.json"))
    plain.encode_special_tokens = True
    wicked = ["<s>", "</s> joy", "<pad><mask>", "a<s>b </s", "<unk>"]
    assert 0 in plain.encode("<s>", add_special_tokens=False).ids  # what it is about
    found = modules.Modules(bert.config({}), root, ("mean",), (), (), False, 33)
    tokenizer = modules.read_tokenizer(found)
    for text in wicked:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert ids
        assert not {0, 1, 2, 4} & set(ids)
    for text in texts():
        assert tokenizer.encode(text).ids == plain.encode(text).ids


@pytest.fixture
def saved(tmp_path, library):
    """A directory with a Dense; and a function that changes one of its JSON files."""
    root = build(library, tmp_path, "mpnet", wordpiece(), "mean", "tn")

    def change(name: str, **fields) -> None:
        path = root / name
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return root, change


@pytest.mark.parametrize(
    ("file", "fields", "message"),
    [
        ("2_Dense/config.json", {"activation_function": "torch.nn.modules.activation.SiLU"}, r"SiLU.*Tanh.*Identity"),
        ("2_Dense/config.json", {"use_residual": True}, r"use_residual=True \(implemented: False\)"),
        ("2_Dense/config.json", {"module_input_name": "token_embeddings"}, "module_input_name='token_embeddings'"),
        ("2_Dense/config.json", {"in_features": 20}, "in_features=20, but the module before it gives 21"),
        ("3_Normalize/config.json", {"module_output_name": "other"}, "module_output_name='other'"),
        ("1_Pooling/config.json", {"pooling_mode": "median"}, r"\['median'\].*implemented: cls, max, mean"),
        ("sentence_bert_config.json", {"transformer_task": "fill-mask"}, "transformer_task='fill-mask'"),
        ("sentence_bert_config.json", {"query_length": 7}, "query_length=7"),
        (
            "sentence_bert_config.json",
            {"modality_config": {"text": {"method": "forward", "method_output_name": "pooler_output"}}},
            "method_output_name='pooler_output'",
        ),
        ("config_sentence_transformers.json", {"default_prompt_name": "query"}, "default_prompt_name='query'"),
    ],
)
def test_modules_that_are_not_implemented_are_named(saved, file, fields, message):
    root, change = saved
    change(file, **fields)
    with pytest.raises(ValueError, match=message):
        sentence.load(str(root))


def test_a_pickled_dense_is_refused_with_the_way_to_convert_it(saved):
    root, _ = saved
    (root / "2_Dense" / "model.safetensors").rename(root / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"2_Dense: no model.safetensors.*pickle.*SentenceTransformer"):
        sentence.load(str(root))


def test_the_files_that_older_versions_wrote_are_read_the_same(saved):
    root, _ = saved
    params, cfg, _ = sentence.load(str(root))
    (root / "1_Pooling" / "config.json").write_text(
        '{"word_embedding_dimension": 21, "pooling_mode_mean_tokens": true}'
    )
    (root / "3_Normalize" / "config.json").unlink()
    (root / "sentence_bert_config.json").unlink()
    (root / "sentence_roberta_config.json").write_text('{"max_seq_length": 41, "do_lower_case": false}')
    dense = json.loads((root / "2_Dense" / "config.json").read_text())
    (root / "2_Dense" / "config.json").write_text(
        json.dumps({key: dense[key] for key in ("in_features", "out_features", "bias", "activation_function")})
    )
    kinds = ("Transformer", "Pooling", "Dense", "Normalize")
    paths = ("0_Transformer", "1_Pooling", "2_Dense", "3_Normalize")
    (root / "0_Transformer").mkdir()
    for file in (f for f in root.iterdir() if f.is_file() and f.name not in ("modules.json",)):
        file.rename(root / "0_Transformer" / file.name)
    entries = [{"path": p, "type": f"sentence_transformers.models.{k}"} for k, p in zip(kinds, paths, strict=True)]
    (root / "modules.json").write_text(json.dumps(entries))
    again, older, _ = sentence.load(str(root))
    assert same(again, params)
    assert older == dataclasses.replace(cfg, max_tokens=39)  # two rows of positions are never a token's


@pytest.mark.parametrize("cfg", [families.Bert(vocab=50), families.Mpnet(vocab=50, layers=2)])
def test_the_shapes_alone_are_those_of_the_weights(cfg):
    shapes, static = sentence.abstract(cfg, max_tokens=24)
    family = mpnet if isinstance(cfg, families.Mpnet) else bert
    assert jax.tree.map(lambda x: x.shape, shapes.encoder) == jax.tree.map(lambda p: p.shape, family.declare(cfg))
    ids, mask = jax.ShapeDtypeStruct((3, 22), jnp.int32), jax.ShapeDtypeStruct((3, 22), bool)
    embed = functools.partial(sentence.embed, cfg=static)
    assert jax.eval_shape(embed, shapes, ids=ids, mask=mask).shape == (3, static.width)
    with pytest.raises(ValueError, match=r"texts of 513 tokens.*reads 512"):
        sentence.abstract(cfg, max_tokens=513)
