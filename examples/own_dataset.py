"""A folder of clips and a CSV (`id,emotion,speaker,caption`) become a manifest: own_dataset.py FOLDER labels.csv"""

import csv
import sys
import zlib
from pathlib import Path

import emojax


def clip(folder: Path, row: dict[str, str]) -> emojax.Clip:
    split = "test" if zlib.crc32(row["speaker"].encode()) % 5 == 0 else "train"  # nobody is in both
    facts = {"emotion": row["emotion"], "speaker": row["speaker"], "captions": (row["caption"],)}
    return emojax.Clip(row["id"], audio=folder / f"{row['id']}.wav", split=split, **facts)


def main(folder: str, labels: str) -> Path:
    rows = csv.DictReader(Path(labels).read_text(encoding="utf-8").splitlines())
    emojax.write_manifest(manifest := Path(labels).with_suffix(".jsonl"), [clip(Path(folder), row) for row in rows])
    return manifest


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
