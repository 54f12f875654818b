"""The clips that a report shows are those described best and worst, whatever the order they come in."""

import numpy as np
import pytest

from emojax.config.concepts import ATTRIBUTES, CONCEPTS, Attribute
from emojax.data.clips import Clip
from emojax.evaluation.examples import examples

ABOUT = (Attribute("emotion", CONCEPTS), *ATTRIBUTES)
SAID = {  # from best to worst, of a sad young woman
    "right and rewarded": "A young woman sounds sad, and the tone is dull.",
    "right": "A young woman sounds sad.",
    "unrewarded": "She is sad",
    "one wrong, rewarded": "A young man sounds sad, he does.",
    "one wrong": "A man is sad.",
    "two wrong": "A happy man.",
    "three wrong": "An elderly man sounds happy.",
}


@pytest.mark.parametrize("seed", range(3))
def test_fewest_wrong_facts_first_then_the_reward(seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(SAID))
    clips = [
        Clip(list(SAID)[i], captions=("ref",), emotion="sad", attributes={"gender": "woman", "age": "young"})
        for i in order
    ]

    def reward(texts: list[str], *_: object) -> dict[str, np.ndarray]:
        return {"reward": np.array([len(text) for text in texts], np.float32)}

    text = examples(clips, {"sft": dict.fromkeys(SAID, "first stage"), "grpo": SAID}, reward, ABOUT, most=2)
    right, _, worst = text.partition("## Where it was most wrong")
    shown = [[line.split("**")[1] for line in part.splitlines() if line.startswith("**")] for part in (right, worst)]
    assert shown == [["right and rewarded", "right"], ["three wrong", "two wrong"]]
    assert "- wrong: " not in right
    assert worst.splitlines().count("- wrong: emotion, gender, age") == 1
    assert "- sft: first stage" in right


def test_few_clips_are_shown_once() -> None:
    clips = [Clip("a", captions=("ref",), emotion="sad")]
    text = examples(clips, {"grpo": {"a": "happy"}}, lambda *_: {"reward": np.zeros(1)}, ABOUT)
    assert text.count("**a**") == 1
