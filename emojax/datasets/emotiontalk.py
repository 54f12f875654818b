"""EmotionTalk (arXiv 2505.23018): Chinese dialogues of 19 actors, with captions and labels for each modality.

No record of it is public, so values are read leniently: a label may be a word or a code, a caption a string.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emojax.config.concepts import CONCEPTS
from emojax.data.clip import Clip
from emojax.datasets.dataset import Dataset, Found, Options
from emojax.datasets.tables import read_json
from emojax.datasets.tree import DatasetError, Tree

_NAME = re.compile(r"G(\d{5})_\d{2}_(\d{2})_\d{3}")
_VALIDATION, _TEST = (1, 12), (3, 15)  # groups
_OFFICIAL = {"train": 15_413, "validation": 1_908, "test": 1_929}
_CAPTIONS = [f"caption_{n}" for n in range(1, 6)]
_FOLDERS = {"multimodal": "Multimodal", "audio": "Audio", "text": "Text", "video": "Video"}
_NONE = -10  # of the continuous label


def _read(tree: Tree, options: Options) -> Found:
    told = _FOLDERS[options.truth or "multimodal"]
    records: dict[str, dict[str, Path]] = {}
    for path in tree.matching(rf"{_NAME.pattern}\.json"):
        for folder in dict.fromkeys(("Audio", told)):
            if tree.lies(path, rf"(^|/){folder}/"):
                records.setdefault(path.stem, {})[folder] = path
    clips = []
    for name, paths in sorted(records.items()):
        match = _NAME.fullmatch(name)
        assert match is not None, "its path matched"
        group = int(match[1])
        sound, label = (_record(paths.get(folder)) for folder in ("Audio", told))
        given = sound.get("sourceAttr")
        attributes: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
        captions = [attributes.get(key) for key in (*_CAPTIONS, *options.also)]
        clips.append(
            Clip(
                name,
                tree.audio(name),
                tree.video(name),
                _spoken(sound.get("content") or label.get("content")),
                tuple(text for text in captions if isinstance(text, str) and text.strip()),
                _word(label.get("emotion_result")),
                speaker=match[2],
                split="validation" if group in _VALIDATION else "test" if group in _TEST else "train",
                language="zh",
                labels=_votes(label.get("data")),
                valence=_valence(label),
            )
        )
    return Found(clips, _OFFICIAL, notes=[f"labels are those of {told}, which differ from the others'"])


def _record(path: Path | None) -> Mapping[str, Any]:
    found = read_json(path) if path else {}
    if not isinstance(found, Mapping):
        raise DatasetError(f"{path}: wanted an object")
    return {key.strip(): value for key, value in found.items()}


def _spoken(content: Any) -> str | None:
    """Without marks such as [over/]."""
    return re.sub(r"\[[^\]]*\]", "", content).strip() if isinstance(content, str) else None


def _word(label: Any) -> str | None:
    """A label as a word; a code is its place among the seven."""
    text = str(label).strip() if label is not None else ""
    return CONCEPTS[int(text)].name if text in "0123456" and len(text) == 1 else text or None


def _votes(data: Any) -> tuple[str, ...]:
    """What each annotator said."""
    said = data.values() if isinstance(data, Mapping) else ()
    words = (_word(one.get("emotion")) for one in said if isinstance(one, Mapping))
    return tuple(word for word in words if word)


def _valence(record: Mapping[str, Any]) -> float | None:
    """The sentiment, from -2 to 2."""
    found = record.get("Continuous label_result", record.get("Continuous_label_result"))
    try:
        value = float(found) if found is not None else _NONE
    except (TypeError, ValueError):
        return None
    return None if value == _NONE else value


DATASET = Dataset(
    name="emotiontalk",
    title="EmotionTalk",
    task="captions",
    languages="zh",
    streams="audio, video, transcript",
    licence="CC BY-NC-SA 4.0, gated",
    where="https://huggingface.co/datasets/BAAI/Emotiontalk",
    tree="""
Audio/{json,wav}/G00001/G00001_02/G00001_02_01/G00001_02_01_002.{json,wav}
Multimodal/{json,mp4}/G00001/G00001_02/G00001_02_01/G00001_02_01_002.{json,mp4}
""",
    read=_read,
    truths=tuple(_FOLDERS),
    parts=("spe_cap", "style_cap", "emo_cap"),
)
