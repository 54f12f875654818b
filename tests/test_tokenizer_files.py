"""A tokenizer's files that are not what they say: one line that names the file, and what would read it."""

import json
import tomllib
from pathlib import Path

import pytest

from emojax.data import text
from emojax.data.text import bounds, pretrained_tokenizer, train_tokenizer
from emojax.text.policy import build_policy
from support.mutations import refusals


@pytest.fixture
def model(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    root.mkdir()
    train_tokenizer(["a calm voice", "a sad voice"], 270).save(str(root / "tokenizer.json"))
    ends = {"bos_token": "<start>", "eos_token": {"content": "<end>", "lstrip": False}}
    (root / "special_tokens_map.json").write_text(json.dumps(ends))
    (root / "tokenizer_config.json").write_text(json.dumps(ends | {"pad_token": "<pad>"}))
    return root


def read(root: Path) -> None:
    """All that is made of a policy's tokenizer before anything is trained."""
    bounds(root)
    tokenizer = pretrained_tokenizer(root)
    build_policy(tokenizer)
    text.decode(tokenizer, text.encode(tokenizer, "a mad voice", 8)[0])


@pytest.mark.parametrize("count", [60, pytest.param(400, marks=pytest.mark.slow)])
def test_a_mutated_file_is_read_or_named(model: Path, count: int) -> None:
    read(model)
    for name in ("tokenizer.json", "special_tokens_map.json", "tokenizer_config.json"):
        found = refusals(model / name, lambda: read(model), count)
        assert len(found) > count // 8, name
        assert not [e for e in found if str(model) not in str(e) and "tokenizer" not in str(e)], name


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", "version https://git-lfs.github.com/spec/v1\noid x\n", "tokenizer.json: a Git LFS pointer"),
        ("tokenizer.json", '{"version": "1.0", "mod', "tokenizer.json: no tokenizer of the `tokenizers` library"),
        ("tokenizer_config.json", '{"eos_token": 2}', r"tokenizer_config.json: eos_token=2 \(wanted a text, or an"),
        ("special_tokens_map.json", '{"bos_token": {"text": "<s>"}}', r"special_tokens_map.json: bos_token="),
    ],
)
def test_what_is_wrong_is_told_with_its_file(model: Path, name: str, content: str, message: str) -> None:
    (model / name).write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        bounds(model)
    assert len(str(error.value).splitlines()) == 1


def test_an_id_beyond_all_tables_is_refused(model: Path) -> None:
    told = json.loads((model / "tokenizer.json").read_text())
    told["model"]["vocab"]["far"] = 4_000_000_000
    (model / "tokenizer.json").write_text(json.dumps(told))
    with pytest.raises(ValueError, match=r"tokenizer.json: a token has the id 4000000000; wanted ids below"):
        pretrained_tokenizer(model)


def test_a_sentencepiece_model_alone_names_the_extra_that_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>")
    monkeypatch.setattr(text, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"tokenizer.model alone.*pip install -e '\.\[sentencepiece\]'"):
        pretrained_tokenizer(tmp_path)
    extras = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert any(line.startswith("sentencepiece") for line in extras["optional-dependencies"]["sentencepiece"])
