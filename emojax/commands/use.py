"""caption, evaluate, export: what a trained captioner is for."""

import sys
from pathlib import Path

import tyro

from emojax.commands.train import Set
from emojax.config import ConfigError, Sampling

Files = tyro.conf.Positional[tuple[Path, ...]]


def caption(
    files: Files = (),
    *,
    model: str,
    manifest: Path | None = None,
    split: str | None = None,
    out: Path | None = None,
    batch_size: int = 16,
    samples: int = 1,
    temperature: float | None = None,
    top_p: float = 1.0,
    seed: int = 0,
    ordered: bool = False,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    strict: bool = False,
    features: str = "",
    checkpoint: str = "last",
) -> None:
    """Caption media files or a manifest's clips; JSONL, a line a clip.

    Args:
        files: audio or video files.
        model: run directory of a trained captioner, or an exported one (a directory or a hub id).
        manifest: JSONL manifest, instead of files.
        split: of the manifest; all without it.
        out: file to write; the screen without it.
        batch_size: clips captioned at once.
        samples: captions per clip; more than one are drawn at random.
        temperature: of the draw; greedy without it, unless several samples are asked for (then 1).
        top_p: probability mass that tokens are drawn from.
        seed: of the draw.
        ordered: in the order of the clips; else as they are made, which is faster where clips differ in length.
        workers: processes that decode ahead; as many as in training without it.
        resume: leave out the clips that `out` already names.
        overwrite: replace `out`.
        strict: stop with an error if a file was broken.
        features: directory that `emojax encode` wrote, read instead of the manifest's media.
        checkpoint: of a run: last, best (of those that are kept), or its step.
    """
    from emojax import captioning
    from emojax.captioning import caption_file
    from emojax.commands.progress import bars
    from emojax.data.clips import clips_of_files, read_manifest
    from emojax.errors import RunError
    from emojax.parallel import compile_cache
    from emojax.training.run_files import require_apart

    if bool(files) == bool(manifest):
        raise ConfigError("give either media files or --manifest")
    if features and not manifest:
        raise ConfigError("--features holds clips by the ids of a manifest; give --manifest, or leave it out")
    if out is not None and not (resume or overwrite):
        caption_file.require_free(out)
    clips = read_manifest(manifest, split) if manifest else clips_of_files(files)
    if out is not None:
        read = {"--manifest": manifest, "--features": features, "--model": model if Path(model).exists() else None}
        for path in (out, caption_file.beside(out)):
            require_apart(path, read, clips)
    sampling = Sampling(temperature=temperature or 1.0, top_p=top_p) if temperature or samples > 1 else None
    decoding = captioning.Decoding(min(batch_size, max(1, len(clips))), samples, sampling, seed, ordered, workers)
    compile_cache.use()
    loaded = captioning.load(model, features, checkpoint)
    if out is None:
        errors = 0
        for record in loaded.records(clips, decoding):
            print(caption_file.line(record, sys.stdout.encoding), flush=True)
            errors += "error" in record
    else:
        with bars() as track:
            bar = track("captions")
            done = caption_file.write(loaded, clips, out, decoding, resume=resume, progress=lambda n, m: bar(n, m, {}))
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
    overwrite: bool = False,
) -> None:
    """Score captions (JSONL with `id` and `caption`) against a manifest, beside the floors.

    Args:
        captions: JSONL file, as `emojax caption` writes it.
        manifest: with the reference captions.
        split: that was captioned.
        train_split: that the floors are made of.
        config: preset or file whose `reward` and `data` are used.
        out: directory for report.json and report.md.
        overwrite: replace the report in `out`.
    """
    from rich.console import Console

    from emojax.commands import experiment
    from emojax.config import presets
    from emojax.data.clips import read_manifest
    from emojax.evaluate import report, table, write_report
    from emojax.parallel import compile_cache
    from emojax.training.run_files import require_apart

    if out is not None:
        require_apart(out, {"--captions": captions, "--manifest": manifest}, read_manifest(manifest))
        if not overwrite:
            report.require_free(out)
    compile_cache.use()
    cfg = presets.load(config, set_)
    rows = experiment.score(cfg, captions, manifest, split, train_split)
    if out is not None:
        write_report(out, rows, {})
    Console(width=None if sys.stdout.isatty() else 140).print(table(rows))


def export(
    run: tyro.conf.Positional[Path],
    out: Path,
    license: str = "",
    adapter: bool = False,
    overwrite: bool = False,
    checkpoint: str = "last",
) -> None:
    """Write a trained captioner as one directory: Hugging Face models of its parts, the rest, and a model card.

    Args:
        run: directory of a run.
        out: directory to write; `emojax caption --model` reads it.
        license: of the weights, for the model card, such as cc-by-4.0.
        adapter: write adapters (`lora`) for the library peft and name their base model, instead of merging them.
        overwrite: replace an export in `out`.
        checkpoint: last, best (of those that are kept), or its step.
    """
    from emojax import captioning, storage
    from emojax.errors import RunError
    from emojax.export import card
    from emojax.export import directory as exporting
    from emojax.training.run import stage_of, trained
    from emojax.training.run_files import reads, require_apart

    require_apart(out, {"the run": run})
    stage = stage_of(trained(run))
    cfg, params, tokenizer, _ = captioning.restore(run, merge=not adapter, checkpoint=checkpoint)
    require_apart(out, reads(cfg))
    if adapter and not cfg.lora.targets:
        raise RunError(f"{run} trained no adapters (lora.targets is empty); export it without --adapter")
    text = card.model_card(cfg, stage, card.read_report(storage.path_of(run)), license)
    exporting.write(cfg, params, tokenizer, text, out, overwrite=overwrite)
    print(f"{out}: complete README.md (data, licence) before you share it", file=sys.stderr)
