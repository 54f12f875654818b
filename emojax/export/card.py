"""The model card of an exported captioner: what it is, what it learnt from, how it scored, what it cannot do."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from emojax import __version__
from emojax.config import Config, FeatureFilesConfig
from emojax.export.card_scores import Evaluation, sections
from emojax.hub.locate import is_path
from emojax.rewards.facts import known_facts

INTENDED = """\
- To describe in words how the emotion of a clip sounds and looks: for search, for reading along, for research on speech
  and faces.
- Not to decide about people or to watch them: at work, in school, at borders, in policing, for health, credit or
  advertising. At work and in education the European Union's AI Act (2024/1689, Article 5) forbids systems that infer
  emotions, but for medical and safety reasons.
- Not without the consent of those who are heard and seen."""
LIMITS = """\
- It describes how a clip sounds and looks to those who wrote its training captions. That is no fact about what a person
  feels, and no ground for a decision about anybody.
- Speakers, languages, recording conditions and emotions that the training data lacks are captioned worse, and nothing
  in a caption tells.
- The reward that it was trained on is a sentence model's: what that model cannot tell apart was not learnt.
- Scores of one test set do not carry over to another, nor between tokenizations."""


def model_card(
    cfg: Config, stage: str, licence: str, found: Evaluation | None = None, pictures: Collection[str] = ()
) -> str:
    """Markdown with the front matter that the Hugging Face hub reads.

    Args:
      stage: "sft", "grpo" or "dpo", what the captioner was trained by last.
      licence: an identifier such as "apache-2.0"; empty: the card says that none is named.
      found: what it scored; None, or without rows: it was not evaluated.
      pictures: that lie beside the card, by the names of PICTURES.
    """
    parts = {"audio": cfg.model.audio, "video": cfg.model.video, "decoder": cfg.model.decoder}
    sources = {name: part.weights for name, part in parts.items() if part and part.weights}
    ids = [source for source in sources.values() if not is_path(source)]
    front = ["library_name: emojax", "pipeline_tag: video-text-to-text", f"license: {licence or 'other'}"]
    front += ["base_model:", *(f"- {name}" for name in ids)] if ids else []
    front += ["tags:", "- emotion-captioning", "- jax", f"- {stage}"]
    lines = ["---", *front, "---", "", f"# {cfg.name}: an emotion captioner", ""]
    lines += [_what(cfg, stage), "", "```", "emojax caption --model DIRECTORY CLIP.mp4", "```", ""]
    lines += ["## Made of", "", *(f"- {name}: {_part(part)}" for name, part in parts.items()), ""]
    lines += ["## Data", "", _data(cfg), ""]
    lines += sections(found or Evaluation({}), stage, known_facts(cfg.reward), pictures)
    lines += ["## Intended use", "", INTENDED, "", "## Limits", "", LIMITS]
    lines += ["", "## Licence", "", _licence(licence, sources)]
    return "\n".join(lines) + "\n"


def _what(cfg: Config, stage: str) -> str:
    how = "a supervised cold start" + {"grpo": ", then Emo-GRPO", "dpo": ", then DPO"}.get(stage, "")
    reads = [name for name, part in (("speech", cfg.model.audio), ("face video", cfg.model.video)) if part]
    return (
        f"From {', '.join([*reads, 'transcript'])} to a sentence that describes the emotion; trained by {how} with "
        f"emojax {__version__}, a re-implementation of MECap-R1 (arXiv 2509.18729) that does not reproduce its numbers."
    )


def _part(part: Any) -> str:
    if part is None:
        return "none"
    if isinstance(part, FeatureFilesConfig):
        return f"none: features of width {part.width} from files, made by an extractor that these do not name"
    sizes = f"{type(part).__name__}, width {part.width}"
    return f"{sizes}, from {_shown(part.weights)}" if part.weights else f"{sizes}, trained from random weights"


def _shown(source: str) -> str:
    """A hub id as it is, of a path the last name alone."""
    return Path(source).name if is_path(source) else source


def _data(cfg: Config) -> str:
    if cfg.data.manifest:
        return (
            f"The manifest `{Path(cfg.data.manifest).name}`. Say here where its recordings come from, and who agreed."
        )
    corpus = cfg.data.corpus
    return (
        f"emojax's built-in corpus: {corpus.clips} synthetic clips of {corpus.speakers} made-up speakers, seed "
        f"{corpus.seed}. No person was recorded."
    )


def _licence(licence: str, sources: Mapping[str, str]) -> str:
    own = (
        f"These weights: {licence}."
        if licence
        else "No licence was named for these weights: add one before sharing them."
    )
    if not sources:
        return own
    theirs = ", ".join(f"{_shown(source)} ({name})" for name, source in sources.items())
    return f"{own} They derive from {theirs}, whose licences hold as well; so do the terms of the data."
