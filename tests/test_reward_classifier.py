"""A learned reward model scores captions as transformers does, in the graph, on tokens that are exactly its own."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

pytest.importorskip("torch", reason="parity with transformers")
pytest.importorskip("transformers", reason="parity with transformers")

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from emojax import rewards
from emojax.config import ConfigError, Reward
from emojax.data.clips import Clip
from emojax.data.text import END
from support.byte_policy import policy
from support.text_models import MODELS, SIZES

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    *"abcdefghij",
    *(f"##{c}" for c in "abcdefghij"),
    "sad",
    "cab",
    "##age",
    ",",
    ".",
]
TEXTS = ["sad cabage.", "a, b. c", "", "Sad JADE ide cab", "xyz sad", "She is sad 😀"]


def judge(folder: Path, name: str, **told) -> tuple[transformers.PreTrainedModel, Tokenizer]:
    """A random classifier with the tokenizer of BERT, written down."""
    kind, own = MODELS[name]
    sizes = SIZES | own | {"pad_token_id": 0} | told
    sizes |= {"hidden_dim": sizes["intermediate_size"]} if kind == "DistilBert" else {}
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForSequenceClassification")(getattr(transformers, f"{kind}Config")(**sizes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.25)
    model.eval().save_pretrained(folder)
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return model, tokenizer


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("bert", {"id2label": {0: "dull", 1: "warm", 2: "odd"}}),
        ("distilbert", {"num_labels": 1}),
        ("roberta", {"id2label": {0: "dull", 1: "warm"}, "problem_type": "multi_label_classification"}),
    ],
)
def test_its_score_is_that_of_transformers(name: str, told: dict, tmp_path: Path) -> None:
    model, tokenizer = judge(tmp_path, name, **told)
    label = "" if "num_labels" in told else ", label=warm"
    reward = Reward(parts=(f"model(path={tmp_path}{label}, max_tokens=30)",), model="nowhere", max_bytes=40)
    reader = rewards.make_reader(reward, policy())
    built = rewards.build(reader)
    rows = [policy().encode(text).ids for text in TEXTS]
    ids, mask = np.zeros((2, 3, 40), np.int32), np.zeros((2, 3, 40), bool)
    for n, row in enumerate(rows):
        ids[n // 3, n % 3, : len(row) + 1], mask[n // 3, n % 3, : len(row) + 1] = [*row, END], True
    clips = [Clip("a", captions=("x",)), Clip("b")]
    _, parts = jax.jit(rewards.score, static_argnums=1)(*built, ids, mask, rewards.references(reader, clips, 1))
    wanted = []
    for text in TEXTS:
        logits = model(torch.tensor([tokenizer.encode(text).ids])).logits[0].detach()
        kind = told.get("problem_type")
        several, one = torch.sigmoid(logits), torch.softmax(logits, -1)
        wanted.append(float(logits[0] if "num_labels" in told else several[1] if kind else one[1]))
    np.testing.assert_allclose(np.asarray(parts["model"]).ravel(), wanted, atol=1e-5)
    assert np.std(wanted) > 0.01
    said = rewards.score_texts(*built, reader, TEXTS, [clips[0]] * len(TEXTS))
    np.testing.assert_allclose(said["model"], wanted, atol=1e-5)


def test_a_model_that_is_none_is_refused(tmp_path: Path) -> None:
    judge(tmp_path, "bert", id2label={0: "dull", 1: "warm"})
    with pytest.raises(ConfigError, match="label is one of dull, warm, got 'wram'"):
        rewards.build(rewards.make_reader(Reward(parts=(f"model(path={tmp_path}, label=wram)",)), policy()))
    told = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(told | {"problem_type": "ranking"}))
    with pytest.raises(ValueError, match=r"problem_type wants one of regression, .* got 'ranking'"):
        rewards.build(rewards.make_reader(Reward(parts=(f"model(path={tmp_path})",)), policy()))
