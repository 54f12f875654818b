"""Files of a sentence model that are not what they say: one line that names the file."""

import json
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from safetensors.numpy import load_file

from emojax.commands import tools
from emojax.data.text import train_tokenizer
from emojax.hub.locate import local
from emojax.rewards import sentence
from support.mutations import noisy, refusals
from test_sentence import tiny

FILES = ("modules.json", "config.json", "tokenizer_config.json", "sentence_bert_config.json", "1_Pooling/config.json")


def read(root: Path) -> None:
    """All of `sentence.load`, and a text through its tokenizer."""
    _, cfg, tokenizer = sentence.load(str(root))
    sentence.tokenize(tokenizer, ["a sad voice", ""], max(cfg.max_tokens - 2, 1))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    root = tiny(tmp_path / "model")
    (root / "2_Normalize" / "config.json").write_text('{"module_input_name": "sentence_embedding"}')
    return root


@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_a_mutated_file_is_read_or_named(model: Path, count: int) -> None:
    read(model)
    for name in (*FILES, "2_Normalize/config.json", "tokenizer.json"):
        found = refusals(model / name, lambda: read(model), count)
        assert len(found) > count // 8, name
        assert not [e for e in found if str(model) not in str(e)], name


@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_mutated_weights_are_read_or_named(model: Path, count: int) -> None:
    assert refusals(model / "model.safetensors", lambda: read(model), count, mutate=noisy)


@pytest.mark.parametrize("count", [100, pytest.param(700, marks=pytest.mark.slow)])
def test_a_mutated_index_is_read_or_named(model: Path, count: int) -> None:
    whole, index = model / "model.safetensors", model / "model.safetensors.index.json"
    names = load_file(whole)
    whole.rename(model / "model-1.safetensors")
    index.write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, "model-1.safetensors")}))
    read(model)
    found = refusals(index, lambda: (local(str(model)), read(model)), count)
    assert len(found) > count // 4
    assert max(len(str(e)) for e in found) < 1000


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", POINTER, "tokenizer.json: a Git LFS pointer, not the file itself; get it by `git lfs pull`"),
        ("tokenizer.json", "{}", "tokenizer.json: no tokenizer of the `tokenizers` library"),
        ("model.safetensors", POINTER, "model.safetensors: a Git LFS pointer"),
        ("config.json", '{"hidden_size": "21"}', r"config.json: hidden_size='21' \(wanted a whole number"),
        ("config.json", '{"quantization_config": {"quant_method": "gptq"}}', "config.json: .*'gptq'"),
        ("config.json", '{"vocab_size": 7, "hidden_size": 24}', r"tokenizer.json: a token has the id 40.*has 7"),
        ("modules.json", '{"0": "Transformer"}', "modules.json: wanted a list of modules"),
        ("modules.json", '[{"type": "T", "path": "../x"}]', "modules.json: wanted .* a directory in this one"),
        ("modules.json", '[{"path": ""}]', 'each with "type" and "path"'),
        ("1_Pooling/config.json", '{"pooling_mode": 3}', "1_Pooling/config.json: pooling_mode=3"),
        ("sentence_bert_config.json", '{"max_seq_length": -1}', "max_seq_length=-1"),
        ("tokenizer_config.json", '{"model_max_length": "512"}', "tokenizer_config.json: model_max_length='512'"),
    ],
)
def test_what_is_wrong_is_told_with_its_file(model: Path, name: str, content: str, message: str) -> None:
    (model / name).write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        read(model)
    assert len(str(error.value).splitlines()) == 1


def test_an_encoder_alone_is_pooled_by_the_mean_and_that_is_said(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As sentence-transformers reads it; what stood in modules.json beside the mean is no more."""
    plain = tiny(tmp_path / "plain", normalize=False)
    texts = ["a bad cab", "", "no"]

    def vectors(root: Path) -> np.ndarray:
        params, cfg, tokenizer = sentence.load(str(root))
        return sentence.embed_texts(params, cfg, tokenizer, texts)

    with_modules = vectors(plain)
    assert not caplog.records
    (plain / "modules.json").unlink()
    np.testing.assert_array_equal(vectors(plain), with_modules)
    assert f"{plain} has no modules.json: the mean" in caplog.text
    (plain / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"neither modules.json nor config.json"):
        sentence.load(str(plain))


def test_check_text_reads_the_reward_as_training_does(model: Path, tmp_path: Path) -> None:
    """Texts are put into lower case (`do_lower_case`), which the tokenizer's file does not say."""
    (tmp_path / "text.txt").write_text("A BAD cab\n")
    policy = tmp_path / "tokenizer.json"
    train_tokenizer([], 259).save(str(policy))
    found = {}
    with mock.patch("emojax.text.check.check", lambda policy, reward, *_, **__: found.update(reward=reward) or []):
        tools.check_text(policy, model, tmp_path / "text.txt", sequences=1)
    assert found["reward"].encode("A BAD cab").tokens == sentence.load_tokenizer(str(model)).encode("a bad cab").tokens
