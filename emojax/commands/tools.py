"""synth, plan, check-text, bench, doctor: what helps beside training."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from emojax.bench import caption, grpo, peers, sft
from emojax.bench import text as conversion
from emojax.bench import work as benchmark
from emojax.commands.train import Set


def synth(out: Path, clips: int = 1200, speakers: int = 24, seed: int = 0, processes: int = 2) -> None:
    """Write the built-in corpus: WAV and MP4 files and their manifest.

    Args:
        out: directory to make.
        clips: how many.
        speakers: how many, dealt to train, validation and test.
        seed: of everything.
        processes: that render at once.
    """
    from emojax.api.progress import bars
    from emojax.config import Corpus
    from emojax.corpus.synthetic import make_corpus

    with bars() as track:
        bar = track("corpus")
        corpus = Corpus(clips=clips, speakers=speakers, seed=seed)
        path = make_corpus(out, corpus, processes=processes, progress=lambda n, total: bar(n, total, {}))
    print(path)


def plan(
    program: Literal["sft", "grpo", "dpo", "caption"] = "grpo",
    config: str = "demo",
    set_: Set = (),
    topology: str | None = None,
    memory: float | None = None,
    no_propose: bool = False,
    save: Path | None = None,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Compile a program without running it, for this machine or for a TPU pod, and say what it needs.

    Args:
        program: which.
        config: a preset's name or a file.
        topology: of a pod, such as v5e:4x4, or 2xv5e:4x4 for two slices; needs the extra `tpu`.
        memory: GiB of a device that it may use, instead of all that it has.
        no_propose: where it does not fit, do not look for a micro-batch, remat policy and mesh that do.
        save: file for the compiled programs, which a run of the stage uses by --executable; those of other
            stages that it has already are kept.
        as_json: print JSON.
    """
    from emojax.planning import topology as pods

    if topology is not None:
        pods.parse(topology)
        pods.prepare()
    from emojax.config import presets
    from emojax.planning import report, screen

    cfg = presets.load(config, set_)
    found = report.plan(cfg, program, topology, limit=memory, propose=not no_propose, save=save)
    print(json.dumps(found) if as_json else screen.show(found))


def check_text(policy: Path, reward: Path, text: Path, sequences: int = 20_000, seed: int = 0) -> None:
    """Check that the conversion of tokens in the graph equals the reference tokenizers on your text.

    Args:
        policy: tokenizer.json of the policy, or the directory of a pretrained decoder.
        reward: directory of the sentence-transformers model, read as training reads it; or a tokenizer.json.
        text: file of text, a caption a line.
        sequences: random token sequences to try besides.
        seed: of those.
    """
    from emojax.data.text import pretrained_tokenizer
    from emojax.rewards import modules, sentence
    from emojax.text.check import check, read_tokenizer

    writer = pretrained_tokenizer(policy) if policy.is_dir() else read_tokenizer(policy)
    whole = any((reward / name).is_file() for name in ("modules.json", "config.json"))
    reader = sentence.load_tokenizer(str(reward)) if whole else modules.as_text(read_tokenizer(reward))
    lines = text.read_text(encoding="utf-8", errors="replace").splitlines()
    found = check(writer, reader, lines, random_sequences=sequences, seed=seed)
    for mismatch in found[:10]:
        print(mismatch)
    print(f"{len(found)} mismatches in {len(lines)} lines and {sequences} random sequences")
    if found:
        sys.exit(1)


def doctor() -> None:
    """Print versions, devices and what is missing."""
    from emojax.commands import doctor as examination

    print(examination.report())


@dataclass(frozen=True)
class Precision:
    config: str = "demo"  # a preset's name or a file
    set_: Set = ()
    clips: int = 4  # read at once
    prefix: int = 48  # tokens before a caption
    length: int = 32  # tokens of a caption


def bench(
    work: Annotated[
        Annotated[grpo.Work, tyro.conf.subcommand("grpo", description="One Emo-GRPO step on random weights.")]
        | Annotated[sft.Work, tyro.conf.subcommand("sft", description="One step of the cold start, likewise.")]
        | Annotated[caption.Work, tyro.conf.subcommand("caption", description="Greedy captions, likewise.")]
        | Annotated[peers.Work, tyro.conf.subcommand("all", description="These and the peers' scripts in turn.")]
        | Annotated[conversion.TextWork, tyro.conf.subcommand("text", description="Captions to the reward's tokens.")]
        | Annotated[Precision, tyro.conf.subcommand("precision", description="Logits of weights in fewer bits.")],
        tyro.conf.arg(name=""),
    ],
) -> None:
    """Measure a step, captions, the conversion of captions, or a decoder kept in fewer bits; prints JSON lines."""
    match work:
        case grpo.Work():
            benchmark.main(work, grpo.measure)
        case sft.Work():
            benchmark.main(work, sft.measure)
        case caption.Work():
            benchmark.main(work, caption.measure)
        case peers.Work():
            peers.main(work)
        case conversion.TextWork():
            conversion.main(work)
        case Precision():
            from emojax.bench import precision
            from emojax.config import presets

            precision.main(presets.load(work.config, work.set_), work.clips, work.prefix, work.length)
