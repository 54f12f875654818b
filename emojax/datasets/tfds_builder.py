"""A dataset of TFDS: the clips of a manifest, media as their files' own bytes, nothing re-encoded.

`emojax export-data` runs this file without TensorFlow, and writes it into dataset folders for `tfds build`, which needs
manifest.jsonl in its manual_dir, and no emojax. What is particular to a dataset stands in about.json beside it.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds  # pyright: ignore[reportMissingImports] an extra

ABOUT = json.loads(Path(__file__).with_name("about.json").read_text("utf-8"))


class Builder(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version(ABOUT["version"])
    RELEASE_NOTES = {ABOUT["version"]: "As the manifest has it."}  # noqa: RUF012 as TFDS has it
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Put manifest.jsonl, and the media that it names, into manual_dir."
    manifest: Path | None = None  # instead of manual_dir's

    def _info(self) -> Any:
        text, number = tfds.features.Text(), tfds.features.Scalar(np.float32)
        content = tfds.features.Tensor(shape=(), dtype=np.object_)
        features = {
            "id": text,
            "speaker": text,
            "language": text,
            "transcript": text,  # like other texts empty where there is none
            "captions": tfds.features.Sequence(text),
            "emotion": tfds.features.ClassLabel(names=ABOUT["emotions"]),  # -1: none
            "audio": content,
            "audio_format": text,  # the file's suffix; "video": the sound of the video
            "video": content,
            "video_format": text,
            "seconds": number,  # of the audio; 0: not known
            "record": text,  # the manifest's line, but for the media
        }
        told = {name: ABOUT[name] for name in ("homepage", "license") if ABOUT[name]}
        metadata = tfds.core.MetadataDict(digest=ABOUT["digest"])
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), disable_shuffling=True, metadata=metadata, **told
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        path = Path(self.manifest or dl_manager.manual_dir / "manifest.jsonl")
        lines = [json.loads(line) for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
        splits = dict.fromkeys(line.get("split") or "unsplit" for line in lines)
        return {
            name: self._generate_examples(path, [line for line in lines if (line.get("split") or "unsplit") == name])
            for name in splits
        }

    def _generate_examples(self, path: Path, lines: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
        for line in lines:
            audio, video = line.get("audio"), line.get("video")
            heard = "video" if audio and audio == video else _format(audio)
            yield (
                line["id"],
                {
                    "id": line["id"],
                    "speaker": line.get("speaker") or "",
                    "language": line.get("language") or "",
                    "transcript": line.get("transcript") or "",
                    "captions": line.get("captions") or ([line["caption"]] if line.get("caption") else []),
                    "emotion": -1 if line.get("emotion") is None else line["emotion"],
                    "audio": b"" if not audio or heard == "video" else (path.parent / audio).read_bytes(),
                    "audio_format": heard,
                    "video": (path.parent / video).read_bytes() if video else b"",
                    "video_format": _format(video),
                    "seconds": line.get("seconds") or 0.0,
                    "record": json.dumps({k: v for k, v in line.items() if k not in ("audio", "video")}),
                },
            )


def _format(name: str | None) -> str:
    return Path(name or "").suffix.removeprefix(".")
