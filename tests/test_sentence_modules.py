"""A sentence-transformers directory gives the vectors that sentence-transformers gives, whatever modules it has."""

import dataclasses
import json
import random
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from emojax.encoders import bert
from emojax.rewards import modules, sentence

torch = pytest.importorskip("torch", reason="parity with torch")
transformers = pytest.importorskip("transformers")
library = pytest.importorskip("sentence_transformers", reason="parity with sentence-transformers")

from support.text_models import random_model, same  # noqa: E402 - it needs torch

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


def build(root: Path, name: str, tokenizer: Tokenizer, pooling, head: str = "") -> Path:
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
def test_embeddings_equal_those_of_sentence_transformers(tmp_path, name, tokenizer, pooling, head):
    root = build(tmp_path, name, tokenizer(), pooling, head)
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
def saved(tmp_path):
    """A directory with a Dense; and a function that changes one of its JSON files."""
    root = build(tmp_path, "mpnet", wordpiece(), "mean", "tn")

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
