"""A folder of clips and a CSV of labels become a manifest, and a captioner is trained from it.

    python examples/own_dataset.py --folder recordings --labels labels.csv --out runs/mine

`labels.csv` has a line per clip: `id,emotion,speaker,caption`. The media of clip `a1` are `a1.wav`, `a1.mp4` or both.
`speaker` decides the split, so that nobody is both trained on and tested; a clip without `caption` gets one that names
its emotion. The labels must be names of `reward.concepts`. Without `--folder` a little folder of this kind is made
first. The preset is `tiny`, which trains in a moment and learns next to nothing.
"""

import argparse
import csv
import tempfile
import zlib
from pathlib import Path

import emojax
from emojax.captioning.decoding import Decoding
from emojax.config import Corpus, presets
from emojax.corpus.synthetic import make_corpus
from emojax.data.clips import Clip, read_manifest, write_manifest
from emojax.training import stages


def make_manifest(folder: Path, labels: Path) -> Path:
    """Writes `manifest.jsonl` beside the labels, with paths relative to it."""
    clips = []
    with labels.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            audio, video = folder / f"{row['id']}.wav", folder / f"{row['id']}.mp4"
            clips.append(
                Clip(
                    id=row["id"],
                    audio=audio if audio.exists() else video,  # the sound of a film is audio, too
                    video=video if video.exists() else None,
                    captions=(row.get("caption") or f"The speaker sounds {row['emotion']}.",),
                    emotion=row["emotion"],
                    speaker=row["speaker"],
                    split="test" if zlib.crc32(row["speaker"].encode()) % 5 == 0 else "train",
                )
            )
    manifest = labels.with_name("manifest.jsonl")
    write_manifest(manifest, clips)
    return manifest


def main(folder: Path, labels: Path, out: Path, overrides: tuple[str, ...] = ()) -> emojax.Captioner:
    manifest = make_manifest(folder, labels)
    clips = read_manifest(manifest)  # raises ManifestError, which lists every fault with its line
    test = [clip for clip in clips if clip.split == "test"]
    print(f"{manifest}: {len(clips)} clips, {len(test)} of them to test on")
    cfg = presets.load("tiny", [f"data.manifest={manifest}", *overrides])
    stages.sft(cfg, out, overwrite=True, progress=lambda step, steps, metrics: print(f"{step}/{steps}", end="\r"))
    captioner = emojax.load(out)
    for record in captioner.records(test[:4], Decoding(workers=0)):
        print(f"{record['id']}: {record['caption']}")
    return captioner


def make_folder(where: Path) -> tuple[Path, Path]:
    """Clips and labels as somebody else may have them, out of the built-in corpus."""
    corpus = Corpus(clips=48, speakers=12, seconds=1.0, frame_size=32, fps=6)
    clips = read_manifest(make_corpus(where / "clips", corpus))
    labels = where / "labels.csv"
    with labels.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "emotion", "speaker", "caption"])
        rows.writerows([clip.id, clip.emotion, clip.speaker, clip.captions[0]] for clip in clips)
    return where / "clips" / "media", labels


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="of the media; without it a small one is made")
    parser.add_argument("--labels", type=Path, help="CSV file; needed with --folder")
    parser.add_argument("--out", type=Path, default=Path("runs/examples/mine"))
    flags = parser.parse_args()
    if (flags.folder is None) != (flags.labels is None):
        parser.error("give both --folder and --labels, or neither")
    if flags.folder:
        main(flags.folder, flags.labels, flags.out)
    else:
        with tempfile.TemporaryDirectory() as made:
            main(*make_folder(Path(made)), flags.out)
