"""Score a captioner beside its floors: python examples/evaluate.py emojax-demo [clips.jsonl]"""

import sys

import rich

import emojax


def main(model: str, manifest: str | None = None) -> dict:
    rows = emojax.evaluate(emojax.load(model), manifest)  # without a manifest: the clips that it was trained beside
    rich.print(emojax.table(rows))
    return rows


if __name__ == "__main__":
    main(*sys.argv[1:])
