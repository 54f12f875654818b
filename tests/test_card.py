"""A model card says what the run scored, of whom, and how sure it was; its pictures are those of the run's page."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from emojax.config import presets
from emojax.evaluation.by_clip import read_scores
from emojax.evaluation.calibration import bins_of, calibration
from emojax.evaluation.groups import by_kind
from emojax.export import card, card_scores
from emojax.report import card_pictures, run_page
from support.made_run import ABOUT, captions, clips, metrics, write_run, write_stage
from support.pages import table, tree

KNOWN = clips(60)
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("card") / "run"
    right = {"constant": (0.0, 1), "sft": (0.6, 2), "grpo": (0.9, 3)}
    write_run(folder, KNOWN, {name: captions(KNOWN, *how) for name, how in right.items()})
    report = json.loads((folder / "report.json").read_text())
    for n, stage in enumerate(("sft", "grpo")):
        right = [one.said[stage].named == one.clip.emotion for one in read_scores(folder)]
        report[stage]["calibration"] = calibration(np.random.default_rng(n).uniform(0.3, 1, len(right)).tolist(), right)
    (folder / "report.json").write_text(json.dumps(report))
    return folder


def written(run: Path, stage: str) -> str:
    folder = card_scores.folder_of(run)
    cfg = presets.load("tiny")
    return card.model_card(cfg, stage, "", card_scores.read_evaluation(folder), card_pictures.pictures(folder, stage))


def test_the_card_has_the_facts_of_every_group_and_names_no_speaker(run: Path) -> None:
    text = written(run / "grpo", "grpo")
    for emotion in ("angry", "happy", "sad"):
        own = [one.said["grpo"].scores["emotion_accuracy"] for one in read_scores(run) if one.clip.emotion == emotion]
        row = rf"^\| {emotion} \| {len(own)} \| .* to .* \| .* \| 100 / {100 * np.mean(own):.0f} \|"
        assert re.search(row, text, re.MULTILINE), text
    for groups in by_kind(read_scores(run), "grpo", ABOUT).values():
        for group in groups:
            assert group.facts["emotion"]["right"] == pytest.approx(group.right), "all captions state one"
    assert "| streams |" in text
    assert "| s1 |" not in text
    assert "## Intended use" in text
    assert "By group" not in card.model_card(presets.load("tiny"), "sft", "")


def test_how_sure_it_was_is_said_as_it_was_measured(run: Path) -> None:
    told = json.loads((run / "report.json").read_text())["sft"]["calibration"]
    text = written(run, "sft")
    assert f"Expected calibration error {told['ece']:.3f}, Brier score {told['brier']:.3f}" in text
    assert f"is {told['confidence']:.2f} in the mean, and {100 * told['right']:.0f} % of 60 captions" in text
    page = tree(run_page.write(run).read_text("utf-8"))
    figure = next(one for one in page.all("figure") if one.text.startswith("Right by confidence"))
    rows = table(figure)[1]
    assert [row[1:] for row in rows if row[0] == "sft"] == [
        [repr(b[key]) for key in ("clips", "confidence", "right")] for b in told["bins"]
    ]
    marks = [title.text for title in figure.all("title")]
    assert len(marks) == len(rows)
    across = [float(x.split(",")[0]) for x in (next(figure.all("polyline")).at["points"] or "").split()]
    np.testing.assert_allclose(across, [50 + 312 * b["confidence"] for b in told["bins"]], atol=0.06)


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_its_pictures_are_there_are_whole_and_run_nothing(run: Path, stage: str) -> None:
    found = card_pictures.pictures(run, stage)
    assert found.keys() == card_scores.PICTURES.keys()
    assert set(re.findall(r"\]\((plot-.*?)\)", written(run, stage))) == {*map(card_scores.picture_file, found)}
    for picture in found.values():
        root = ElementTree.fromstring(picture)
        assert root.tag == f"{SVG}svg"
        assert {one.tag.removeprefix(SVG) for one in root.iter()} <= {
            *("svg", "style", "g", "path", "polyline", "text", "circle", "rect")
        }
        assert len(root.attrib["aria-label"]) > 20
        assert not re.search("@import|url|href", picture)
    assert ("grpo:" in found["scores"]) == (stage == "grpo"), "what came after a stage is not of its card"
    page = run_page.write(run).read_text("utf-8")
    assert re.search(r'points="(.*?)"', found["learning"])[1] in page  # pyright: ignore[reportOptionalSubscript] a curve has points


def test_of_a_stage_that_was_not_evaluated_there_is_its_curve(tmp_path: Path) -> None:
    write_stage(tmp_path / "dpo", "dpo", metrics(["loss"], 5, 0))
    assert card_pictures.pictures(tmp_path / "dpo", "dpo").keys() == {"learning"}
    text = written(tmp_path / "dpo", "dpo")
    assert "Not evaluated" in text
    assert "plot-learning.svg" in text


@pytest.mark.parametrize(
    "broken", [{"ece": 1.5}, {"brier": None}, {"bins": [{"confidence": -1, "right": 1, "clips": 2}]}]
)
def test_what_is_no_calibration_is_refused(broken: dict[str, object]) -> None:
    told = calibration([0.5, 0.9], [True, False]) or {}
    assert [b.clips for b in bins_of({"calibration": told})] == [1, 1]
    with pytest.raises((TypeError, ValueError)):
        bins_of({"calibration": told | broken})
