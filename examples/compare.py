"""Compare two captioners on the same clips: python examples/compare.py runs/one runs/other [clips.jsonl]"""

import sys

import rich

import emojax


def main(one: str, other: str, manifest: str | None = None) -> dict:
    captioners = {name: emojax.load(name) for name in (one, other)}
    clips = emojax.read_manifest(manifest, "test") if manifest else emojax.clips(captioners[one].cfg, "test")
    rows = {name: emojax.evaluate(captioner, clips)["captions"] for name, captioner in captioners.items()}
    rich.print(emojax.table(rows))
    return rows


if __name__ == "__main__":
    main(*sys.argv[1:])
