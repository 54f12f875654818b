"""Captions scored, from Python and for `emojax evaluate`: by the reward that they were trained for, beside floors."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emojax import rewards
from emojax.captioning import Captioner, Decoding
from emojax.captioning.caption_file import beside
from emojax.captioning.likelihood import log_likelihoods
from emojax.config import Config, ConfigError, Data, Reward, presets
from emojax.config.parts import read_all
from emojax.corpus import source
from emojax.data.clips import Clip, read_manifest
from emojax.data.text import train_tokenizer
from emojax.errors import shown
from emojax.evaluation import best_constant, nearest_captions
from emojax.evaluation.asked import Asked, Made, asked_for, made_of
from emojax.evaluation.by_clip import Places, Scored, scored
from emojax.evaluation.report import evaluate_clips
from emojax.evaluation.statements import judgement, paired, statements
from emojax.rewards.facts import known_facts
from emojax.storage import json_lines, read_object

Rows = dict[str, dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Judge:
    """The reward of strings, as `emojax.evaluation` wants it."""

    model: rewards.RewardModel
    static: rewards.RewardStatic
    read: rewards.Reader

    def __call__(self, captions: Sequence[str], clips: Sequence[Clip]) -> Mapping[str, np.ndarray]:
        """Scores caption i against clip i."""
        return rewards.score_texts(self.model, self.static, self.read, captions, clips)

    @property
    def places(self) -> Places | None:
        """texts -> their emotion coordinates; None: the reward has none."""
        if "emotion" not in self.model.parts:
            return None
        return functools.partial(rewards.coordinates_of_texts, self.model, self.read)


def score(
    captions: Sequence[str], references: Sequence[Sequence[str]], cfg: Config | None = None
) -> dict[str, np.ndarray]:
    """The reward of plain strings: `reward` and its parts by name, f32[captions] each.

    Args:
      captions: one for each clip.
      references: of each clip.
      cfg: whose `reward`; None: the default one.
    Raises:
      ConfigError: another number of references than of captions. FileNotFoundError: the reward's model is not there.
    """
    if len(captions) != len(references):
        raise ConfigError(f"{len(references)} lists of references for {len(captions)} captions: give one each")
    reward = Reward() if cfg is None else cfg.reward
    clips = [Clip(str(i), captions=tuple(refs)) for i, refs in enumerate(references)]
    return dict(reward_of_texts(reward)(list(captions), clips))


def evaluate(
    captions: Captioner | Mapping[str, str] | str | Path,
    clips: Sequence[Clip] | str | Path | None = None,
    *,
    training: Sequence[Clip] | None = None,
    cfg: Config | None = None,
    split: str = "test",
    train_split: str = "train",
    asked: Asked = Asked(),
    judge: Captioner | None = None,
) -> Rows:
    """Every metric of captions over clips, and of floors: what is reached without understanding the clips.

    Args:
      captions: a file that `emojax caption` wrote; or captions by clip id; or a captioner, which makes them.
      clips: with reference captions; or a manifest, whose `split` they are then, and whose `train_split` is `training`;
        None: those of the captioner's own configuration.
      training: clips that the floors are made of; None: there are none.
      cfg: whose `reward` and `data`; None: the captioner's own, of a file those that are written beside it.
      asked: metrics besides those of every table (`emojax.evaluation.asked`).
      judge: the captioner that `judgement` is asked of; None: the one whose captions these are.
    Returns:
      A row for "captions" and for the floors "constant" and "nearest"; what is in a row says
      `emojax.evaluation.report.evaluate`. Clips whose media could not be decoded are left out of all rows, and counted
      (`broken`). `emojax.table` shows the rows.
    Raises:
      ConfigError: clips without a caption, all listed; no captioner to ask for a judgement.
      ManifestError, ValueError: files that cannot be read.
    """
    rows, _ = evaluate_by_clip(
        captions,
        clips,
        training=training,
        cfg=cfg,
        split=split,
        train_split=train_split,
        asked=asked,
        judge=judge,
    )
    return rows


def evaluate_by_clip(
    captions: Captioner | Mapping[str, str] | str | Path,
    clips: Sequence[Clip] | str | Path | None = None,
    *,
    training: Sequence[Clip] | None = None,
    cfg: Config | None = None,
    split: str = "test",
    train_split: str = "train",
    asked: Asked = Asked(),
    judge: Captioner | None = None,
) -> tuple[Rows, list[Scored]]:
    """What `evaluate` returns, and the scores of each clip."""
    if clips is None:
        clips = source.manifest(_own(captions)[0])
    if isinstance(clips, str | Path):
        training = read_manifest(Path(clips), train_split) if training is None else training
        clips = read_manifest(Path(clips), split)
    judge = judge or (captions if isinstance(captions, Captioner) else None)
    if "judgement" in asked.metrics and judge is None:
        raise ConfigError("judgement is of what a captioner finds likely, not of its captions; give the captioner")
    found, broken = _made(captions, clips)
    cfg, whose = (cfg, f"of {cfg.name}") if cfg is not None else _own(captions)
    kept = [clip for clip in clips if clip.id not in broken]
    sets, reward = {"captions": found}, reward_of_texts(cfg.reward, training or ())
    if training is not None:
        sets = {name: Made(one, {}) for name, one in floors(cfg, training, kept, reward).items()} | sets
    rows, each = scores_of(cfg, {name: one.captions for name, one in sets.items()}, kept, reward)
    if asked.metrics:
        about = known_facts(cfg.reward)
        read = _embedder(cfg.reward) if {"bertscore", "cues"} & set(asked.metrics) else None
        rows = {name: row | asked_for(asked, sets[name], kept, cfg.reward, about, read) for name, row in rows.items()}
    if "judgement" in asked.metrics and judge is not None:
        rows["captions"]["judgement"] = judgement(log_likelihoods(judge, kept, statements(paired(kept))))
    by = {"reward_by": f"{name_of(cfg.reward)} ({whose})", "broken": len(broken)}
    return {name: row | by for name, row in rows.items()}, each


def scores_of(
    cfg: Config,
    captions: Mapping[str, Mapping[str, str]],
    clips: Sequence[Clip],
    reward: Judge,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Rows, list[Scored]]:
    """A row for each set of captions by clip id, and the scores of each clip.

    Args:
      tell: told (sets done, sets).
    """
    about, rows, each = known_facts(cfg.reward), {}, {}
    for name, found in captions.items():
        rows[name], each[name] = evaluate_clips(found, clips, reward, about)
        tell(len(rows), len(captions))
    return rows, scored(clips, captions, each, reward.places, about)


def floors(cfg: Config, training: Sequence[Clip], test: Sequence[Clip], reward: Any) -> dict[str, dict[str, str]]:
    """Captions of the test clips that were not made by understanding them: the best constant, the nearest clip's."""
    constant, _ = best_constant(training, reward)
    return {
        "constant": {clip.id: constant for clip in test},
        "nearest": nearest_captions(training, test, cfg.data),
    }


def reward_of_texts(reward: Reward, training: Sequence[Clip] = ()) -> Judge:
    """The reward of a configuration.

    Args:
      training: clips that document frequencies are counted on.
    """
    read = dataclasses.replace(_reader(reward), training=training)
    return Judge(*rewards.build(read), read)


@functools.lru_cache(maxsize=1)  # it remembers the embeddings of texts
def _reader(reward: Reward) -> rewards.Reader:
    any_policy = train_tokenizer(["a calm voice"], 300)  # of strings its tokens are seldom read
    return rewards.make_reader(reward, any_policy)


def _embedder(reward: Reward) -> rewards.Reader:
    """The reward's own reader where it embeds texts; else one that does."""
    read = _reader(reward)
    return read if read.weights else rewards.make_reader(rewards.only_emotions(reward), None)


def name_of(reward: Reward) -> str:
    """What tells one reward from another, for the line below a table.

    >>> name_of(Reward())
    'all-MiniLM-L6-v2, 0.5 emotion + 0.5 sentence'
    """
    paid = [part for part in read_all(reward.parts) if part.final]
    model = f"{Path(reward.model).name}, " if {"emotion", "sentence"} & {part.file for part in paid} else ""
    return model + " + ".join(f"{part.final:g} {part.name}" for part in paid)


def settings_config(captions: Path) -> Config | None:
    """The preset `demo` with the `reward` and the `data` that a file of captions was made with; None: not known."""
    if not beside(captions).is_file():
        return None
    told, base = read_object(beside(captions)), presets.load("demo")
    if not isinstance(told.get("reward"), dict):
        return None
    try:
        reward = presets.part(Reward, told["reward"], "reward.")
        data = presets.part(Data, told.get("data", {}), "data.")
    except ConfigError as e:
        raise ConfigError(f"{beside(captions)}: {e}; name a configuration by --config") from None
    return dataclasses.replace(base, reward=reward, data=dataclasses.replace(data, features=""))


def _own(captions: Captioner | Mapping[str, str] | str | Path) -> tuple[Config, str]:
    """A configuration, and in words whose its reward is."""
    match captions:
        case Captioner():
            return captions.cfg, "of the captioner"
        case str() | Path():
            if (cfg := settings_config(Path(captions))) is not None:
                return cfg, f"of {beside(Path(captions)).name}"
    return presets.load("demo"), "of the preset demo"


def _made(captions: Captioner | Mapping[str, str] | str | Path, clips: Sequence[Clip]) -> tuple[Made, set[str]]:
    """Captions by clip id, and the ids of clips whose media are broken."""
    match captions:
        case Captioner():
            records = list(captions.records(clips, Decoding(workers=0)))
        case str() | Path():
            records = list(records_of(Path(captions)))
        case _:
            return Made(captions, {}), set()
    return made_of(records), {record["id"] for record in records if "error" in record}


def captions_of(path: Path) -> dict[str, str]:
    """The captions of a JSONL file by clip id, as `emojax caption` writes them; records of broken files have none.

    Raises:
      ValueError: a line that is no such record.
    """
    return {record["id"]: record["caption"] for record in records_of(path) if "caption" in record}


def records_of(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a JSONL file of captions. Raises ValueError for a line that is none."""
    for what, record in json_lines(path, halves=True):
        told = [record.get(name) for name in ("id", "caption")] if isinstance(record, dict) else [None]
        broken = isinstance(record, dict) and "error" in record and isinstance(record.get("id"), str)
        if not all(isinstance(text, str) for text in told) and not (broken and "caption" not in record):
            raise ValueError(f'{what}: wanted an object with "id" and "caption" (or "error"), got {shown(record)}')
        yield record
