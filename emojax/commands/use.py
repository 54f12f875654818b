"""caption, evaluate, export: what a trained captioner is for."""

import sys
from pathlib import Path
from typing import Literal

import tyro

from emojax.commands.train import Set
from emojax.config import ConfigError, Sampling

NOTHING = 1  # exit code where nothing could be captioned
Files = tyro.conf.Positional[tuple[Path, ...]]


def caption(
    files: Files = (),
    *,
    model: str,
    manifest: Path | None = None,
    split: str | None = None,
    transcript: str | None = None,
    out: Path | None = None,
    batch_size: int = 16,
    samples: int = 1,
    temperature: float | None = None,
    top_p: float | None = None,
    seed: int = 0,
    windows: bool = False,
    ordered: bool = False,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    strict: bool = False,
    features: str = "",
    checkpoint: str = "last",
) -> None:
    """Caption media files, folders of them, or a manifest's clips; JSONL, a line a clip.

    Args:
        files: audio or video files, and folders of them.
        model: run directory of a trained captioner, or an exported one (a directory or a hub id).
        manifest: JSONL manifest, instead of files.
        split: of the manifest; all without it.
        transcript: what is said in the one file.
        out: file to write; the screen without it.
        batch_size: clips captioned at once, by all devices together.
        samples: captions per clip; more than one are drawn at random.
        temperature: of the draw (1 without it); greedy where neither it, --top-p nor --samples is given.
        top_p: probability mass that tokens are drawn from.
        seed: of the draw.
        windows: hear all of a recording that is longer than the captioner hears at once, part by part.
        ordered: in the order of the clips; else as they are made, which is faster where clips differ in length.
        workers: processes that decode ahead; by the cores of this host without it.
        resume: leave out the clips that `out` already names.
        overwrite: replace `out`.
        strict: end with an error if a file was broken, or longer than what is heard of it.
        features: directory that `emojax encode` wrote, read instead of the manifest's media.
        checkpoint: of a run: last, best (of those that are kept), or its step.
    """
    from emojax import captioning
    from emojax.api.progress import bars
    from emojax.captioning import caption_file
    from emojax.data.clips import read_manifest
    from emojax.data.inputs import clips_of
    from emojax.errors import RunError
    from emojax.parallel import compile_cache
    from emojax.training.run_files import require_apart

    if bool(files) == bool(manifest):
        raise ConfigError("give either media files or --manifest")
    if features and not manifest:
        raise ConfigError("--features holds clips by the ids of a manifest; give --manifest, or leave it out")
    if transcript is not None and len(files) != 1:
        raise ConfigError(f"--transcript is of one file, got {len(files)}; a manifest has one for each clip")
    if resume and out is None:
        raise ConfigError("--resume goes on with a file; name it by --out")
    if out is not None and not (resume or overwrite):
        caption_file.require_free(out)
    found = read_manifest(manifest, split) if manifest else clips_of(files, [transcript] if transcript else None)
    clips = list({clip.id: clip for clip in found}.values())  # a file that was named twice
    if out is not None:
        read = {"--manifest": manifest, "--features": features, "--model": model if Path(model).exists() else None}
        for path in (out, caption_file.beside(out)):
            require_apart(path, read, clips)
    drawn = samples > 1 or temperature is not None or top_p is not None
    sampling = (
        Sampling(temperature=1.0 if temperature is None else temperature, top_p=1.0 if top_p is None else top_p)
        if drawn
        else None
    )
    decoding = captioning.Decoding(
        min(batch_size, max(1, len(clips))), samples, sampling, seed, ordered, workers, windows
    )
    compile_cache.use()
    loaded = captioning.load(model, features, checkpoint)
    if out is None:
        done = {"clips": 0, "errors": 0, "truncated": 0}
        for record in loaded.records(clips, decoding):
            print(caption_file.line(record, sys.stdout.encoding), flush=True)
            done = caption_file.counted(done, record)
    else:
        with bars() as track:
            bar = track("captions")
            done = caption_file.write(loaded, clips, out, decoding, resume=resume, progress=lambda n, m: bar(n, m, {}))
        print(
            f"{done['clips']} clips, {done['errors']} broken files, {done['clips_per_second']:.1f} clips/s",
            file=sys.stderr,
        )
    if strict and (done["errors"] or done["truncated"]):
        raise RunError(
            f"{done['errors']} files could not be decoded, {done['truncated']} are longer than what is heard of them; "
            "their records say why (--windows hears all)"
        )
    if done["clips"] and done["errors"] == done["clips"]:
        print("emojax: nothing could be captioned; the records say why", file=sys.stderr)
        sys.exit(NOTHING)


def evaluate(
    captions: Path,
    manifest: Path,
    split: str = "test",
    train_split: str = "train",
    config: str | None = None,
    set_: Set = (),
    out: Path | None = None,
    overwrite: bool = False,
    metrics: tuple[str, ...] = (),
    model: str | None = None,
    wheel: str = "concepts",
    level: Literal[1, 2] = 1,
) -> None:
    """Score captions (JSONL with `id` and `caption`) against a manifest, beside the floors.

    Args:
        captions: JSONL file, as `emojax caption` writes it.
        manifest: with the reference captions.
        split: that was captioned.
        train_split: that the floors are made of.
        config: preset or file whose `reward` and `data` are used; without it those that the captions were made with,
            which `emojax caption` writes beside them.
        out: directory for report.json, report.md, scores.jsonl and the page report.html.
        overwrite: replace the report in `out`.
        metrics: besides those of every table: cider, bertscore, ew, cues, calibration, slices, judgement.
        model: the captioner, which `judgement` asks: a run directory, or an exported one.
        wheel: of `ew`: concepts, plutchik8, or a JSON file of wheels.
        level: of its rings.
    """
    from rich.console import Console

    from emojax import captioning
    from emojax.api import scoring
    from emojax.config import presets
    from emojax.data.clips import read_manifest
    from emojax.evaluation import report, table, write_report
    from emojax.evaluation.asked import Asked
    from emojax.evaluation.by_clip import renamed, write_scores
    from emojax.parallel import compile_cache
    from emojax.report import run_page
    from emojax.training.run_files import require_apart

    if out is not None:
        require_apart(out, {"--captions": captions, "--manifest": manifest}, read_manifest(manifest))
        if not overwrite:
            report.require_free(out)
    compile_cache.use()
    cfg = None if config is None else presets.load(config, set_)
    if cfg is None and set_:
        cfg = presets.override(scoring.settings_config(captions) or presets.load("demo"), set_)
    asked = Asked(metrics, wheel, level)
    if (model is None) == ("judgement" in metrics):
        raise ConfigError("--model is the captioner that the metric judgement asks; give both or neither")
    judge = None if model is None else captioning.load(model)
    rows, clips = scoring.evaluate_by_clip(
        captions, manifest, cfg=cfg, split=split, train_split=train_split, asked=asked, judge=judge
    )
    rows = {captions.stem if name == "captions" else name: row for name, row in rows.items()}
    if out is not None:
        write_report(out, rows, {})
        write_scores(out, [renamed(one, "captions", captions.stem) for one in clips])
        run_page.write(out)
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
    import jax

    from emojax import captioning, storage
    from emojax.errors import RunError
    from emojax.export import card, card_scores
    from emojax.export import directory as exporting
    from emojax.report import card_pictures
    from emojax.training.run import stage_of, trained
    from emojax.training.run_files import reads, require_apart

    require_apart(out, {"the run": run})
    stage = stage_of(trained(run))
    cfg, params, tokenizer, _ = captioning.restore(
        run, merge=not adapter, checkpoint=checkpoint, devices=jax.local_devices()[:1]
    )
    require_apart(out, reads(cfg))
    if adapter and not cfg.lora.targets:
        raise RunError(f"{run} trained no adapters (lora.targets is empty); export it without --adapter")
    folder = card_scores.folder_of(storage.path_of(run))
    shown = card_pictures.pictures(folder, stage)
    text = card.model_card(cfg, stage, license, card_scores.read_evaluation(folder), shown)
    files = {card_scores.picture_file(name): picture for name, picture in shown.items()}
    exporting.write(cfg, params, tokenizer, text, out, pictures=files, overwrite=overwrite)
    print(f"{out}: complete README.md (data, licence) before you share it", file=sys.stderr)
