"""The commands of the docs' pages, run in one process and in the current directory, with everything small."""

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

SIZES = {30_522: 3_000, 384: 32, 1_536: 64}  # of MiniLM's arrays, and what is kept of them here
BEGIN = [  # what the pages assume, beside clips
    ["synth", "--out", "clips", "--clips", "36", "--speakers", "12"],
    ["demo", "--fast", "--out", "emojax-demo"],
]


def cut_reward(folder: Path) -> None:
    """One narrow layer of MiniLM, with the first words of its vocabulary."""
    import shutil

    from safetensors.numpy import load_file, save_file

    from emojax.config import Reward
    from emojax.rewards.sentence import directory

    shutil.copytree(directory(Reward().model), folder, ignore=lambda *_: ["onnx", "openvino", "__pycache__"])

    def edit(name: str, **values: Any) -> None:
        (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | values))

    edit("config.json", num_hidden_layers=1, num_attention_heads=2, vocab_size=3_000, hidden_size=32)
    edit("config.json", intermediate_size=64)
    edit("1_Pooling/config.json", word_embedding_dimension=32)
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    edit("tokenizer.json", model=model | {"vocab": {word: n for word, n in model["vocab"].items() if n < 3_000}})
    kept = load_file(folder / "model.safetensors").items()
    cut = {
        n: x[tuple(slice(SIZES.get(d, d)) for d in x.shape)].copy()
        for n, x in kept
        if not re.search(r"layer\.[1-9]", n)
    }
    save_file(cut, folder / "model.safetensors")


def main() -> None:
    """Notes in failures.json what went wrong on each page of pages.json, and in times.jsonl what took how long."""
    import dataclasses
    import time
    import traceback

    from emojax import cli
    from emojax.config import presets
    from emojax.rewards import opposites

    opposites.check = lambda judge: None  # what is left of MiniLM cannot tell emotions apart
    load, reward, wrong, done = presets.load, Path("reward").resolve(), {}, []

    def small(preset: str, overrides: Any = ()) -> Any:
        if "/" in preset or "." in preset:
            return load(preset, overrides)
        tiny = load("tiny", ["sft.batch=4", "grpo.batch=4", "group=2", f"reward.model={reward}"])
        cfg = dataclasses.replace(tiny, name=preset, steps=3, checkpoint_every=2, sample_every=2)
        return presets.override(cfg, overrides)

    presets.load = small
    for page, commands in json.loads(Path("pages.json").read_text()).items():
        for words in (words for words in commands if words not in done):
            sys.argv, began = ["emojax", *words], time.time()
            try:
                cli.main()
            except BaseException:  # SystemExit, too
                wrong[page] = f"emojax {shlex.join(words)}\n{traceback.format_exc()}"
                break
            done.append(words)
            with Path("times.jsonl").open("a") as times:
                times.write(json.dumps([round(time.time() - began, 1), page, shlex.join(words)]) + "\n")
            if words == BEGIN[0]:
                _lay_out()
    Path("failures.json").write_text(json.dumps(wrong))
    if "begin" in wrong:
        sys.exit(wrong["begin"])


def _lay_out() -> None:
    """The files that pages speak of: clips.jsonl, clip.mp4, voice.wav."""
    from emojax.data.clips import read_manifest, write_manifest

    clips = read_manifest(Path("clips/manifest.jsonl"))
    write_manifest(Path("clips.jsonl"), clips)
    Path("clip.mp4").symlink_to(next(c.video for c in clips if c.video))
    Path("voice.wav").symlink_to(next(c.audio for c in clips if c.audio))


if __name__ == "__main__":
    main()
