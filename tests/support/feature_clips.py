"""Clips of the built-in corpus as people have them: two lengths, streams that are missing, files that are broken."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from emojax.captioning.encode import Encoding, encode
from emojax.config import Config, Corpus, presets
from emojax.corpus.synthetic import make_corpus
from emojax.data.clips import Clip, read_manifest, write_manifest
from emojax.decoder import captioner, pretrained
from emojax.encoders import media
from emojax.parallel import sharding
from emojax.training.program import abstract_weights
from emojax.types import Tree

FREEZE = ("sft.freeze=encoders.audio,encoders.video", "audio_seconds=1.0,2.0")
CFG = presets.load("tiny", FREEZE)
MESH = sharding.make_mesh(CFG, jax.devices()[:1])
SMALL = Corpus(clips=40, speakers=10, seconds=1.0, frame_size=32, fps=6)


def make_clips(folder: Path, corpus: Corpus = SMALL) -> Path:
    """The manifest; of every six clips one lacks its audio and one its video, of the broken ones one has a duration."""
    clips = read_manifest(make_corpus(folder / "corpus", corpus, processes=1))
    cut = folder / "cut.wav"
    sound = clips[0].audio
    assert sound is not None
    cut.write_bytes(sound.read_bytes()[:3000])
    for i, clip in enumerate(clips):
        if i % 6 == 1:
            clips[i] = dataclasses.replace(clip, audio=None, seconds=None)
        if i % 6 == 3:
            clips[i] = dataclasses.replace(clip, video=None)
        if i % 20 == 14:
            clips[i] = dataclasses.replace(clip, audio=cut, seconds=None if i < 20 else 0.9)
    write_manifest(folder / "manifest.jsonl", clips)
    return folder / "manifest.jsonl"


@functools.cache
def weights(cfg: Config) -> media.Encoders:
    return pretrained.initial(cfg, abstract_weights(captioner.declare(cfg), MESH)).encoders


def run(
    cfg: Config,
    clips: list[Clip],
    out: Path,
    encoders: Tree = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    **how: Any,
) -> dict[str, int]:
    encoding = Encoding(**({"batch": 4, "file": 8} | how))
    return encode(cfg, encoders or weights(cfg), clips, out, encoding, mesh=MESH, progress=progress)


def with_data(cfg: Config, **fields) -> Config:
    return dataclasses.replace(cfg, data=dataclasses.replace(cfg.data, **fields))
