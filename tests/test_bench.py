"""What the benchmarks print, and how ours and the peers' take turns."""

from pathlib import Path
from typing import Any

import pytest

from emojax.bench import caption, peers, sft
from emojax.config import ConfigError

SIZES: dict[str, Any] = {"prompt_len": 6, "completion_len": 4, "hidden": 128, "layers": 1, "vocab": 2100}


@pytest.mark.parametrize("bench", [sft, caption], ids=["sft", "caption"])
def test_a_line_tells_of_each_counted_step(bench: Any) -> None:
    line = bench.measure(bench.Work(**SIZES, batch=2, steps=2, warmup=1))
    assert len(line["step_seconds"]) == 2
    assert line["completions_per_s"] == pytest.approx(2 / line["median_step_s"], rel=0.1)
    assert line["gflop"] > 0
    assert line["args"]["batch"] == 2


def work(tmp_path: Path) -> peers.Work:
    for script in (name for names in peers.SCRIPTS.values() for name in names):
        (tmp_path / script).touch()
    return peers.Work(tmp_path, rounds=3, python="torch", trl_python="trl", tunix_python="tunix")


def test_all_take_turns_on_the_same_work_and_a_ratio_is_the_median_of_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []

    def run(command: list[str]) -> dict[str, Any]:
        """Ours twice as fast, while the machine becomes slower and slower; TRL is not installed."""
        ran.append(command)
        if command[0] == "trl":
            return {"command": command, "error": "No module named 'trl'"}
        ours = command[1] == "-m"
        return {"peer": command[1], "median_step_s": len(ran) * (1.0 if ours else 2.0), "peak_rss_mb": 10.0}

    monkeypatch.setattr(peers, "_run", run)
    lines = list(peers.measure(work(tmp_path)))
    told = {(line["bench"], line["setting"], line["script"]): line for line in lines if "script" in line}
    assert len(told) == 2 * 4
    first = [Path(c[1]).name if c[1] != "-m" else c[4] for c in ran[:7]]
    assert first == ["grpo", "tunix_grpo.py", "trl_grpo.py", "grpo", "tunix_grpo.py", "grpo", "tunix_grpo.py"]
    assert len({tuple(c[c.index("--prompts") :]) for c in ran[:7]}) == 1
    assert all("--prompts" not in c for c in ran if c[0] == "torch")
    assert told["grpo", "a", "trl_grpo.py"]["error"] == "No module named 'trl'"
    # runs 1 and 2, 4 and 5, 6 and 7: 1/4, 4/10, 6/14
    assert told["grpo", "a", "tunix_grpo.py"]["seconds_ratio"] == 0.4
    assert told["sft", "a", "torch_sft.py"]["memory_ratio"] == 1


def test_a_script_that_is_missing_is_told_before_anything_runs(tmp_path: Path) -> None:
    asked = work(tmp_path)
    (tmp_path / "hf_generate.py").unlink()
    with pytest.raises(ConfigError, match=r"has no hf_generate\.py"):
        peers.main(asked)


def test_what_a_peer_says_last_is_told_where_it_fails(tmp_path: Path) -> None:
    script = tmp_path / "peer.py"
    script.write_text("print('{\"peer\": 1}'); raise SystemExit('no such model')")
    asked = work(tmp_path)
    assert peers._run([peers.Work(tmp_path).python, str(script)])["error"] == "no such model"
    assert "error" in peers._run([asked.python, str(script)]), "a Python that is not there"
