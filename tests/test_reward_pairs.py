"""The reward in the graph equals the same reward made from text by the reference libraries, for each kind of tokenizer.

Theirs: sentence-transformers (torch) embeds the decoded captions and the phrases of each concept, and NumPy in float64
follows method.md, section 1, with the defaults: centred, `cosine`, lambda 0.5, the mean over the references.
"""

import dataclasses
import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from emojax import rewards
from emojax.config import schema
from emojax.data.clips import Clip
from emojax.rewards import emotion, sentence
from emojax.text.check import random_ids
from emojax.text.policy import build_policy
from support import policies, qwen_rewards
from support.sentencepieces import learned
from test_bpe import roberta
from test_retokenize import every_form

sentence_transformers = pytest.importorskip("sentence_transformers", reason="parity with sentence-transformers")
text_models = pytest.importorskip("support.text_models", reason="parity with torch")

WIDTH = 64  # policy tokens of a caption
BATCH = 20  # captions scored at once
REFERENCES = [
    ["A woman, close to tears, speaks low.", "她非常生气，声音颤抖。"],
    ["He laughs."],
    ["Don't shout at me!", "x"],
]


def directory(root: Path, tokenizer: Tokenizer, ends: tuple[str, str], model: str, **fields: int) -> Path:
    """A random sentence-transformers model with that tokenizer: the mean of the vectors, at unit length."""
    start, stop = ((token, tokenizer.get_vocab()[token]) for token in ends)
    tokenizer.post_processor = processors.RobertaProcessing(stop, start)
    tokenizer.save(str(root / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "cls_token": start[0], "sep_token": stop[0]}
    settings |= {"pad_token": "<pad>", "unk_token": "<unk>"}
    kinds = ["Transformer", "Pooling", "Normalize"]
    files = {
        "tokenizer_config.json": settings,
        "modules.json": [
            {
                "idx": i,
                "name": str(i),
                "path": f"{i}_{kind}" if i else "",
                "type": f"sentence_transformers.models.{kind}",
            }
            for i, kind in enumerate(kinds)
        ],
        "1_Pooling/config.json": {"word_embedding_dimension": 21, "pooling_mode_mean_tokens": True},
        "sentence_bert_config.json": {"max_seq_length": 128, "do_lower_case": False},
    }
    for name, content in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(json.dumps(content))
    (root / "2_Normalize").mkdir()
    vocabulary = tokenizer.get_vocab_size()
    text_models.random_model(model, vocab_size=vocabulary, max_position_embeddings=140, **fields).save_pretrained(root)
    return root


def robertas(root: Path) -> Path:
    learner = roberta(models.BPE(), prefix=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet, special_tokens=special)
    learner.train_from_iterator(every_form(), trainer)
    return directory(root, learner, ("<s>", "</s>"), "roberta", pad_token_id=1)


def xlm_r(root: Path) -> Path:
    transformers = pytest.importorskip("transformers")
    charsmap, pieces = learned("nmt_nfkc")
    special = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    vocabulary = [*special, *pieces, ("<mask>", 0.0)]
    fast = transformers.XLMRobertaTokenizer(vocab=vocabulary, _spm_precompiled_charsmap=charsmap)
    return directory(root, fast.backend_tokenizer, ("<s>", "</s>"), "xlm-roberta", pad_token_id=1)


def minilm(_: Path) -> Path:
    try:
        return sentence.directory("all-MiniLM-L6-v2")
    except FileNotFoundError as absent:
        pytest.skip(str(absent))


REWARDS = {"WordPiece": minilm, "unigram": xlm_r, "RoBERTa": robertas, "Qwen3": qwen_rewards.directory}
POLICIES = {"byte-level": policies.gpt2, "byte fallback": policies.llama2, "WordPiece": policies.bert}

USUAL = [
    *(("byte-level", reward) for reward in REWARDS if reward != "Qwen3"),
    ("byte fallback", "RoBERTa"),
    ("WordPiece", "WordPiece"),
]


@functools.cache
def policy_tokenizer(kind: str) -> Tokenizer:
    return POLICIES[kind]()


@functools.cache
def built(kind: str) -> tuple[rewards.Reader, rewards.RewardModel, rewards.RewardStatic, Any, dict[str, np.ndarray]]:
    """Ours for the byte-level policy; theirs, and the embeddings it has made."""
    root = REWARDS[kind](Path(tempfile.mkdtemp()))
    cfg = schema.Reward(model=str(root), max_tokens=100, max_bytes=1024)
    library = sentence_transformers.SentenceTransformer(str(root), device="cpu")
    library.max_seq_length = cfg.max_tokens
    library.tokenizer.split_special_tokens = True  # text that spells a special token is text
    reader = rewards.make_reader(cfg, policy_tokenizer("byte-level"))
    return reader, *rewards.build(reader), library, {}


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def plain_rewards(embed, captions: list[str], references: list[list[str]], cfg: schema.Reward) -> np.ndarray:
    """method.md, line by line, in float64."""
    spoken = emotion.phrases(cfg.concepts, cfg.templates)
    anchors = np.array([unit(unit(embed(phrases)).mean(0)) for phrases in spoken])
    mean = anchors.mean(0)
    basis = unit(anchors - mean)

    def coordinates(e: np.ndarray) -> np.ndarray:
        return unit(e - mean) @ basis.T

    score = []
    for e in unit(embed(captions)):
        pairs = []
        for other in unit(embed(references[len(score)])):
            z, z_other = unit(coordinates(e)), unit(coordinates(other))
            pairs.append(0.5 * (z @ z_other) + 0.5 * (e @ other))
        score.append(np.mean(pairs))
    return np.array(score)


def captions(policy: Tokenizer, count: int, control: list[str]) -> list[list[int]]:
    """Real captions and random tokens, as a policy might sample them; none with text that has one of those words."""
    rows = [policy.encode(line, add_special_tokens=False).ids[:WIDTH] for line in every_form()[::3]][: count // 2]
    drawn = [ids for _, ids in random_ids(policy, 2 * count, WIDTH, seed=3)]
    texts = policy.decode_batch(rows + drawn)
    clear = [not any(word in text for word in control) for text in texts]
    return [ids for ids, kept in zip(rows + drawn, clear, strict=True) if kept][:count]


def difference(policy_kind: str, reward_kind: str, count: int) -> float:
    """The largest, over that many captions, of our reward and theirs."""
    policy, (reader, model, static, library, known) = policy_tokenizer(policy_kind), built(reward_kind)
    tables = dataclasses.replace(model.tables, policy=build_policy(policy))
    model = dataclasses.replace(model, tables=tables)

    def embed(texts: list[str]) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        known.update(zip(new, library.encode(new).astype(np.float64), strict=True) if new else ())
        return np.stack([known[text] for text in texts])

    # Its Unigram takes them for special whatever it is told; ours does not (see `modules.read_tokenizer`).
    control = ["<s>", "</s>", "<pad>", "<unk>", "<mask>"] if reward_kind == "unigram" else []
    rows = captions(policy, count, control)
    texts, spoken = policy.decode_batch(rows), [REFERENCES[i % len(REFERENCES)] for i in range(count)]
    refs = rewards.references(reader, [Clip("", captions=tuple(each)) for each in spoken], limit=2)
    score, ours = jax.jit(rewards.score, static_argnums=1), np.zeros(count)
    for part in np.arange(count).reshape(-1, BATCH):
        ids, mask = np.zeros((BATCH, 1, WIDTH), np.int32), np.zeros((BATCH, 1, WIDTH), bool)
        for i, row in enumerate(part):
            ids[i, 0, : len(rows[row])], mask[i, 0, : len(rows[row])] = rows[row], True
        with jax.default_matmul_precision("float32"):
            reward, _ = score(model, static, ids, mask, jax.tree.map(lambda x, part=part: x[part], refs))
        ours[part] = np.asarray(reward)[:, 0]
    wanted = plain_rewards(embed, texts, spoken, reader.reward)
    written = [len(library.tokenizer(text)["input_ids"]) > static.sentence.special for text in texts]
    assert np.unique(ours.round(4)).size > count // 2  # rewards that differ
    return float(np.abs(ours - np.where(written, wanted, -1)).max())


@pytest.mark.parametrize(("policy", "reward"), USUAL)
def test_the_reward_equals_that_of_the_reference_libraries(policy, reward):
    assert difference(policy, reward, 60) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("reward", REWARDS)
@pytest.mark.parametrize("policy", POLICIES)
def test_the_reward_equals_that_of_the_reference_libraries_on_1000_captions(policy, reward):
    assert difference(policy, reward, 1000) < 1e-5
