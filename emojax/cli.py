"""The `emojax` command: one function a subcommand, its arguments the flags."""

import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import tyro

from emojax.config import Config, ConfigError, Sampling

Set = Annotated[
    tyro.conf.UseAppendAction[tuple[str, ...]],
    tyro.conf.arg(name="set", metavar="NAME=VALUE", help="override a field of the configuration; may be repeated"),
]
Files = tyro.conf.Positional[tuple[Path, ...]]


def _configuration(
    config: str | None, overrides: tuple[str, ...], out: Path | None, resume: bool, default: str
) -> Config:
    """The preset or file; a resumed run that names neither goes on with its own."""
    from emojax import presets

    if resume and config is None and out is not None and (out / "config.json").exists():
        config = str(out / "config.json")
    return presets.load(config or default, overrides)


def demo(
    out: Path = Path("emojax-demo"), seed: int = 0, fast: bool = False, resume: bool = False, overwrite: bool = False
) -> None:
    """Make the built-in corpus, train on it (cold start, then Emo-GRPO), caption held-out speakers, report.

    Args:
        out: directory of the run.
        seed: of the corpus, the weights and the noise.
        fast: everything, smaller: under two minutes.
        resume: go on with the run in `out`.
        overwrite: replace the run in `out`.
    """
    from rich.console import Console

    began = time.time()
    cfg = _configuration(None, () if resume else (f"seed={seed}",), out, resume, "demo_fast" if fast else "demo")
    _train_and_report(cfg, out, resume, overwrite, began, ablate=True)
    console = Console()
    console.print((out / "report.md").read_text().split("## Captions side by side")[-1].strip(), markup=False)
    console.print("\nCaption a clip of your own:", style="bold")
    console.print(f"  emojax caption --model {shlex.quote(str(out))} YOUR_CLIP.mp4", soft_wrap=True, markup=False)


def synth(out: Path, clips: int = 1200, speakers: int = 24, seed: int = 0, processes: int = 2) -> None:
    """Write the built-in corpus: WAV and MP4 files and their manifest.

    Args:
        out: directory to make.
        clips: how many.
        speakers: how many, dealt to train, validation and test.
        seed: of everything.
        processes: that render at once.
    """
    from emojax.config import Corpus
    from emojax.data.synthetic import make_corpus
    from emojax.progress import bars

    with bars() as track:
        bar = track("corpus")
        corpus = Corpus(clips=clips, speakers=speakers)
        path = make_corpus(out, corpus, seed, processes=processes, progress=lambda n, total: bar(n, total, {}))
    print(path)


def sft(
    out: Path | None = None,
    config: str | None = None,
    set_: Set = (),
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Train the cold start: maximum likelihood of the reference captions.

    Args:
        out: directory of the run; runs/ and the configuration's name without it.
        config: a preset's name or a file.
        resume: go on with the run in `out`.
        overwrite: replace the run in `out`.
    """
    from emojax.progress import bars
    from emojax.training import stages

    cfg = _configuration(config, set_, out, resume, "demo")
    out = out or Path("runs", cfg.name, "sft")
    with bars() as track:
        stages.sft(cfg, out, resume=resume, overwrite=overwrite, progress=track("cold start"))


def grpo(
    out: Path | None = None,
    config: str | None = None,
    init: Path | None = None,
    set_: Set = (),
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Train by Emo-GRPO from a cold start.

    Args:
        out: directory of the run; runs/ and the configuration's name without it.
        config: a preset's name or a file.
        init: run directory of the cold start; without it the captioner begins with random weights.
        resume: go on with the run in `out`.
        overwrite: replace the run in `out`.
    """
    from emojax.progress import bars
    from emojax.training import stages

    cfg = _configuration(config, set_, out, resume, "demo")
    out = out or Path("runs", cfg.name, "grpo")
    if init is None and not (out / "start").exists():
        print("no --init: Emo-GRPO begins with random weights, not with a cold start", file=sys.stderr)
    with bars() as track:
        stages.grpo(cfg, out, init=init, resume=resume, overwrite=overwrite, progress=track("Emo-GRPO"))


def train(
    out: Path | None = None,
    config: str | None = None,
    set_: Set = (),
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Train both stages, caption the test split and report.

    Args:
        out: directory of the run; runs/ and the configuration's name without it.
        config: a preset's name or a file.
        resume: go on with the run in `out`.
        overwrite: replace the run in `out`.
    """
    cfg = _configuration(config, set_, out, resume, "demo")
    _train_and_report(cfg, out or Path("runs", cfg.name), resume, overwrite, time.time(), ablate=False)


def _train_and_report(cfg: Config, out: Path, resume: bool, overwrite: bool, began: float, ablate: bool) -> None:
    from rich.console import Console

    from emojax import experiment
    from emojax.progress import bars

    with bars() as track:
        experiment.train(cfg, out, track, resume=resume, overwrite=overwrite)
        result = experiment.report(cfg, out, track, ablate=ablate, began=began)
    Console(width=None if sys.stdout.isatty() else 140).print(result)


def caption(
    files: Files = (),
    *,
    model: Path,
    manifest: Path | None = None,
    split: str | None = None,
    out: Path | None = None,
    batch_size: int = 16,
    samples: int = 1,
    temperature: float | None = None,
    top_p: float = 1.0,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    strict: bool = False,
) -> None:
    """Caption media files or a manifest's clips; JSONL, a line a clip.

    Args:
        files: audio or video files.
        model: run directory of a trained captioner.
        manifest: JSONL manifest, instead of files.
        split: of the manifest; all without it.
        out: file to write; the screen without it.
        batch_size: clips captioned at once.
        samples: captions per clip; more than one are drawn at random.
        temperature: of the draw; greedy without it, unless several samples are asked for (then 1).
        top_p: probability mass that tokens are drawn from.
        seed: of the draw.
        resume: leave out the clips that `out` already names.
        overwrite: replace `out`.
        strict: stop with an error if a file was broken.
    """
    from emojax import captioning
    from emojax.data.clips import clips_of_files, read_manifest
    from emojax.progress import bars
    from emojax.training.run import RunError

    if bool(files) == bool(manifest):
        raise ConfigError("give either media files or --manifest")
    if out is not None and out.exists() and not (resume or overwrite):
        raise RunError(f"{out} exists; go on with it by --resume, or replace it by --overwrite")
    clips = read_manifest(manifest, split) if manifest else clips_of_files(files)
    sampling = Sampling(temperature=temperature or 1.0, top_p=top_p) if temperature or samples > 1 else None
    how = {"batch_size": min(batch_size, max(1, len(clips))), "samples": samples, "sampling": sampling, "seed": seed}
    loaded = captioning.load(model)
    if out is None:
        errors = 0
        for record in loaded.records(clips, **how):
            print(json.dumps(record, ensure_ascii=False), flush=True)
            errors += "error" in record
    else:
        with bars() as track:
            bar = track("captions")
            done = captioning.write(loaded, clips, out, resume=resume, progress=lambda n, m: bar(n, m, {}), **how)
        errors = done["errors"]
        print(f"{done['clips']} clips, {errors} broken files, {done['clips_per_second']:.1f} clips/s", file=sys.stderr)
    if strict and errors:
        raise RunError(f"{errors} files could not be decoded; their records say why")


def evaluate(
    captions: Path,
    manifest: Path,
    split: str = "test",
    train_split: str = "train",
    config: str = "demo",
    set_: Set = (),
    out: Path | None = None,
) -> None:
    """Score captions (JSONL with `id` and `caption`) against a manifest, beside the floors.

    Args:
        captions: JSONL file, as `emojax caption` writes it.
        manifest: with the reference captions.
        split: that was captioned.
        train_split: that the floors are made of.
        config: preset or file whose `reward` and `data` are used.
        out: directory for report.json and report.md.
    """
    from rich.console import Console

    from emojax import experiment, presets
    from emojax.evaluate import table, write_report

    cfg = presets.load(config, set_)
    rows = experiment.score(cfg, captions, manifest, split, train_split)
    if out is not None:
        write_report(out, rows, {})
    Console(width=None if sys.stdout.isatty() else 140).print(table(rows))


def plan(
    program: Literal["sft", "grpo", "caption"] = "grpo",
    config: str = "demo",
    set_: Set = (),
    topology: str | None = None,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Compile a program without running it, for this machine or for a TPU pod, and say what it needs.

    Args:
        program: which.
        config: a preset's name or a file.
        topology: of a pod, such as v5e:4x4; needs the extra `tpu`.
        as_json: print JSON.
    """
    from emojax import planning, presets

    report = planning.plan(presets.load(config, set_), program, topology)
    print(json.dumps(report) if as_json else planning.show(report))


def check_text(policy: Path, reward: Path, text: Path, sequences: int = 20_000, seed: int = 0) -> None:
    """Check that the conversion of tokens in the graph equals the reference tokenizers on your text.

    Args:
        policy: tokenizer.json of the policy.
        reward: directory of the sentence-transformers model.
        text: file of text, a caption a line.
        sequences: random token sequences to try besides.
        seed: of those.
    """
    from emojax.text.check import check, read_tokenizer

    lines = text.read_text(encoding="utf-8").splitlines()
    found = check(read_tokenizer(policy), read_tokenizer(reward), lines, random_sequences=sequences, seed=seed)
    for mismatch in found[:10]:
        print(mismatch)
    print(f"{len(found)} mismatches in {len(lines)} lines and {sequences} random sequences")
    if found:
        sys.exit(1)


def doctor() -> None:
    """Print versions, devices and what is missing."""
    from emojax import doctor as examination

    print(examination.report())


COMMANDS = {
    "demo": demo,
    "synth": synth,
    "sft": sft,
    "grpo": grpo,
    "train": train,
    "caption": caption,
    "evaluate": evaluate,
    "plan": plan,
    "check-text": check_text,
    "doctor": doctor,
}


def main() -> None:
    """Errors that a user can cause are one line; EMOJAX_TRACEBACK=1 shows where they come from."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if sys.argv[1:2] == ["bench"]:  # its flags are those of the peers' scripts, not ours
        from emojax import bench

        return bench.main(sys.argv[2:])
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog="emojax", description=__doc__, config=(tyro.conf.FlagCreatePairsOff,)
        )
    except (ValueError, OSError, RuntimeError) as e:
        if os.environ.get("EMOJAX_TRACEBACK") or not _by_user(e):
            raise
        print(f"emojax: {e}", file=sys.stderr)
        sys.exit(2)
    return None


def _by_user(e: Exception) -> bool:
    from emojax.data.clips import ManifestError
    from emojax.data.container import MediaError
    from emojax.training.run import RunError

    return isinstance(e, ConfigError | ManifestError | MediaError | RunError | FileNotFoundError)


if __name__ == "__main__":
    main()
