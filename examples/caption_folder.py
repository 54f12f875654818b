"""Caption every media file of a folder, in batches, into one JSONL file; count what could not be decoded.

    python examples/caption_folder.py --model emojax-demo --folder recordings --out captions.jsonl

Without `--model` a `tiny` captioner is trained first, whose captions say nothing; without `--folder` it captions the
built-in corpus. A run that was killed goes on where it stopped: clips that the file already names are left out.
"""

import argparse
import json
from pathlib import Path

import emojax
from emojax.captioning import caption_file
from emojax.captioning.decoding import Decoding
from emojax.config import presets
from emojax.corpus import source
from emojax.data.clips import clips_of_files
from emojax.training import stages

MEDIA = {".wav", ".flac", ".mp3", ".ogg", ".m4a", ".mp4", ".mov", ".mkv", ".webm"}


def main(model: emojax.Captioner, folder: Path, out: Path) -> dict[str, float]:
    """Returns how many `clips` were captioned and how many `errors` there were among them."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in MEDIA)
    print(f"{len(files)} media files in {folder}")
    # each batch is written when it is made, so any number of files fits into memory
    done = caption_file.write(model, clips_of_files(files), out, Decoding(batch_size=16), resume=True)
    records = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    for record in records[:5]:
        print(f"  {Path(record['id']).name}: {record.get('caption', record.get('error'))}")
    for record in records:
        if "error" in record:
            print(f"  not decoded: {record['file']}: {record['error']}")
    print(f"{done['clips']} captions, {done['errors']} errors: {out}")
    return done


def tiny(run: Path) -> emojax.Captioner:
    """A captioner that is trained in a moment, where there is none."""
    if not (run / "run.json").exists():
        stages.sft(presets.load("tiny"), run, progress=lambda step, steps, metrics: None)
    return emojax.load(run)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="run directory or exported captioner; without it a tiny one is trained")
    parser.add_argument("--folder", type=Path, help="with its subfolders; without it the built-in corpus")
    parser.add_argument("--out", type=Path, default=Path("runs/examples/captions.jsonl"))
    flags = parser.parse_args()
    captioner = emojax.load(flags.model) if flags.model else tiny(Path("runs/examples/tiny"))
    main(captioner, flags.folder or source.manifest(captioner.cfg).parent, flags.out)
