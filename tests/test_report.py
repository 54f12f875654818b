"""A report says what it was asked for, under the names that users read, or says what is missing."""

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from emojax.config import Reward
from emojax.config.concepts import ATTRIBUTES
from emojax.evaluation import evaluate, markdown, table, write_report
from emojax.rewards.facts import known_facts

ABOUT = known_facts(Reward(attributes=ATTRIBUTES))
BLEU = {"bleu1", "bleu2", "bleu3", "bleu4"}
KEYS = BLEU | {"reward", "rouge_l", "meteor", "vocabulary", "distinct2", "sbert", "emotion_accuracy"}


def clip(name, captions, emotion, language="en", **attributes):
    return SimpleNamespace(id=name, captions=captions, emotion=emotion, language=language, attributes=attributes)


CLIPS = [
    clip("a", ("A sad woman speaks slowly.", "She is sad"), "sad", gender="woman", style="slow"),
    clip("b", ("An angry man shouts out loud",), "angry", gender="man"),
    clip("c", ("A calm voice goes on and on", "calm"), None),
]
CAPTIONS = {"a": "a sad woman speaks slowly", "b": "a sad man shouts", "c": "a voice", "of another split": "x"}


def reward(captions, clips):
    length = np.array([len(caption) for caption in captions], np.float32)
    assert len(captions) == len(clips)
    return {"reward": length / 100, "emotion": length / 50, "sentence": -length / 100}


@pytest.fixture(scope="module")
def row():
    return evaluate(CAPTIONS, CLIPS, reward, ABOUT)


def test_a_row_has_the_keys_that_users_read(row):
    assert row.keys() >= KEYS
    assert row["tokenization"] == "en: sacrebleu-13a, lower case, no punctuation"


def test_a_row_is_the_mean_over_the_clips_of_the_split(row):
    mean = (25 + 16 + 7) / 3
    assert (row["reward"], row["emotion_similarity"], row["sbert"]) == pytest.approx(
        (mean / 100, mean / 50, -mean / 100)
    )
    assert row["clips"] == 3
    assert row["vocabulary"] == len({"a", "sad", "woman", "speaks", "slowly", "man", "shouts", "voice"})
    assert row["emotion_accuracy"] == 0.5
    perfect = evaluate({c.id: c.captions[0] for c in CLIPS}, CLIPS, reward, ABOUT)
    assert (perfect["bleu4"], perfect["rouge_l"], perfect["emotion_accuracy"]) == pytest.approx((100, 100, 1))


def test_facts_are_counted_where_they_are_known(row):
    assert row["facts"] == {
        "emotion": {"stated": 1.0, "right": 0.5, "constant": 0.5, "clips": 2},
        "gender": {"stated": 1.0, "right": 1.0, "constant": 0.5, "clips": 2},
        "style": {"stated": 1.0, "right": 1.0, "constant": 1.0, "clips": 1},
        "none_wrong": pytest.approx(2 / 3),
    }
    shown = markdown({"ours": row})
    assert "| facts | emotion | gender | style | none wrong |" in shown
    assert "| ours | 100 / 50 | 100 / 100 | 100 / 100 | 67 |" in shown
    assert "| always the same | 100 / 50 | 100 / 50 | 100 / 100 | – |" in shown


def test_a_reward_without_parts_leaves_them_open():
    row = evaluate(CAPTIONS, CLIPS, lambda *texts: {"reward": reward(*texts)["reward"]}, ABOUT)
    assert (row["reward"], row["sbert"], row["emotion_similarity"]) == (pytest.approx(0.16), None, None)


def test_every_language_names_its_tokenization():
    chinese = clip("d", ("声音悲伤",), None, "zh")
    row = evaluate({**CAPTIONS, "d": "声音悲伤"}, [*CLIPS, chinese], reward, ABOUT)
    assert row["tokenization"].startswith("en: sacrebleu-13a")
    assert "zh: sacrebleu-zh" in row["tokenization"]
    chinese.language = None
    assert evaluate({**CAPTIONS, "d": "声音悲伤"}, [*CLIPS, chinese], reward, ABOUT) == row


def test_what_is_missing_is_listed():
    with pytest.raises(ValueError, match=r"no caption for 2 of 3 clips \(b, c\)"):
        evaluate({"a": "x"}, CLIPS, reward, ABOUT)
    many = [SimpleNamespace(id=f"clip{i}", captions=("x",), emotion=None, language="en") for i in range(50)]
    with pytest.raises(ValueError, match="clip19 and 30 more"):
        evaluate({}, many, reward, ABOUT)
    wordless = SimpleNamespace(id="w", captions=("...",), emotion=None, language="en")
    with pytest.raises(ValueError, match=r"no reference .* \(w\)"):
        evaluate({**CAPTIONS, "w": "x"}, [*CLIPS, wordless], reward, ABOUT)
    with pytest.raises(ValueError, match="no clip"):
        evaluate(CAPTIONS, [], reward, ABOUT)


def test_the_report_is_json_and_markdown_with_the_tokenization_named(row, tmp_path):
    rows = {"sft": row, "grpo": {**row, "emotion_accuracy": None}}
    write_report(tmp_path / "out", rows, {"seed": 3, "ablations": {"audio": 0.5}}, "## Captions\n\n悲伤")
    report = json.loads((tmp_path / "out/report.json").read_text(encoding="utf-8"))
    assert report == {"seed": 3, "ablations": {"audio": 0.5}, **rows}
    text = (tmp_path / "out/report.md").read_text(encoding="utf-8")
    assert text.startswith(markdown(rows))
    assert text.endswith("悲伤\n")
    assert row["tokenization"] in text
    assert [line.count("|") for line in text.splitlines()[:4]] == [12] * 4


def test_the_table_shows_every_row(row):
    screen = io.StringIO()
    Console(file=screen, width=80).print(table({"constant": row, "nearest": {**row, "emotion_accuracy": None}}))
    shown = screen.getvalue()
    assert "…" not in shown  # fits a plain terminal
    for part in ("constant", "nearest", f"{row['bleu1']:.1f}", "METEOR", "–", "sacrebleu-13a"):
        assert part in shown


def test_a_report_refuses_what_json_cannot_say(row, tmp_path):
    with pytest.raises(ValueError, match="sft"):
        write_report(tmp_path, {"sft": row}, {"sft": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_report(tmp_path, {"sft": {**row, "reward": float("nan")}}, {})
    assert not list(tmp_path.iterdir())
