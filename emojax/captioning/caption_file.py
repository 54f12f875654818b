"""A file of captions, JSONL, a clip a line: written as they come, and gone on with after a kill at any moment.

Beside `captions.jsonl` lies `captions.jsonl.settings.json`, what its captions depend on, so that no file is begun with
one model and ended with another. It is there before the first line is.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emojax.captioning.decoding import Decoding
from emojax.config import presets
from emojax.errors import RunError
from emojax.storage import RESUME, Appending, parse_json, read_object, write_atomically, writing
from emojax.training import checkpoint, lock
from emojax.training.run import differences

if TYPE_CHECKING:
    from emojax.captioning.captioner import Captioner
    from emojax.data.clips import Clip

_NO_MATTER = ("manifest", "corpus", "targets", "references", "workers", "cache_gb", "strict")  # of `data`


def write(
    model: "Captioner",
    clips: Sequence["Clip"],
    out: Path,
    decoding: Decoding = Decoding(),
    *,
    resume: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, float]:
    """Captions clips into a JSONL file, a line a clip, as they are made.

    With `resume` the clips that `out` already names are left out; a half-written last line is cut off. The batch size,
    the workers and the clips may be others than before.

    Returns:
      `clips` captioned now, `errors` and `truncated` ones among them, `seconds` without compilation,
      `clips_per_second`.
    Raises:
      RunError: what `out` holds was written by another model or with other settings; or `ordered`, and it is not how
        the captions of these clips begin.
    """
    with lock.held(out.with_name(out.name + ".lock"), out):
        settings = _settings(model, decoding)
        done = _take_up(out, settings, [clip.id for clip in clips] if decoding.ordered else None) if resume else set()
        if not done:
            with writing(out):
                out.write_bytes(b"")  # emptied before the settings change: no line is ever said to be of other settings
            write_atomically(beside(out), json.dumps(settings, indent=2), RESUME)
        left = [clip for clip in clips if clip.id not in done] if done else clips
        began, compiling = time.perf_counter(), []
        made = {"clips": 0, "errors": 0, "truncated": 0}
        with closing(Appending(out, RESUME)) as file:
            for n, record in enumerate(model.records(left, decoding, compiling.append) if left else (), 1):
                file.write(line(record, "utf-8").encode() + b"\n")
                made = counted(made, record)
                progress(n, len(left))
    seconds = time.perf_counter() - began - sum(compiling)
    return {**made, "seconds": seconds, "clips_per_second": len(left) / max(seconds, 1e-9)}


def counted(made: Mapping[str, int], record: Mapping[str, Any]) -> dict[str, int]:
    """The counts with one record more."""
    errors, truncated = "error" in record, "truncated_seconds" in record
    return {
        "clips": made["clips"] + 1,
        "errors": made["errors"] + errors,
        "truncated": made["truncated"] + truncated,
    }


def line(record: dict[str, Any], encoding: str) -> str:
    """A record as JSON. What the encoding lacks (a file name need not be UTF-8, a terminal neither) is escaped."""
    text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(record)
    return text


def _settings(model: "Captioner", decoding: Decoding) -> dict[str, Any]:
    """All that a caption depends on beside its clip, as JSON holds it, and whether captions are in order."""
    cfg = json.loads(presets.dumps(model.cfg))
    return {
        "weights": checkpoint.sha256(model.params),
        "tokenizer": hashlib.sha256(model.tokenizer.to_str().encode()).hexdigest(),
        "precision": cfg["precision"],
        "caption_tokens": cfg["caption_tokens"],
        "data": {name: value for name, value in cfg["data"].items() if name not in _NO_MATTER},
        "reward": cfg["reward"] if model.reward is not None else None,  # of the emotion coordinates
        **decoding.settings(),
    }


def require_free(out: Path) -> None:
    """Raises RunError where captions would replace what lies there, the file of their settings included."""
    for path in (out, beside(out)):
        if path.exists():
            raise RunError(f"{path} exists; resume {out} with --resume, or replace it by --overwrite")


def beside(out: Path) -> Path:
    """The file of the settings."""
    return out.with_name(out.name + ".settings.json")


def _take_up(out: Path, settings: dict[str, Any], order: Sequence[str] | None) -> set[str]:
    """The ids in `out`; none where there is nothing to go on with."""
    done = written(out)
    if not done:
        if beside(out).exists() and "weights" not in read_object(beside(out)):
            raise RunError(f"{beside(out)} is not of captions; move it away, or replace it by --overwrite")
        return set()
    if not beside(out).is_file():
        raise RunError(
            f"{out}: {beside(out).name} is not beside it, so what wrote it is not known; replace it by --overwrite"
        )
    differ = differences(read_object(beside(out)), settings)
    if differ:
        raise RunError(
            f"{out} was begun by another model or with other settings:\n"
            + "\n".join(differ)
            + "\ngo on with those, write to another file by --out, or replace this one by --overwrite"
        )
    if order is not None and done != list(order[: len(done)]):
        raise RunError(f"{out} does not hold the first {len(done)} of these clips in order; replace it by --overwrite")
    return set(done)


def written(out: Path) -> list[str]:
    """The ids in a file of captions, in its order; cuts a last line that was not written to its end.

    Raises:
      RunError: a line that is no caption.
    """
    if not out.exists():
        return []
    ids, whole = [], 0
    with out.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            try:
                name = parse_json(line, "line", halves=True)["id"]
            except (ValueError, TypeError, KeyError):
                name = None
            if not isinstance(name, str):
                raise RunError(
                    f"{out}: line {len(ids) + 1} is no caption: {line[:80]!r}; replace the file by --overwrite"
                )
            ids.append(name)
            whole += len(line)
    if whole < out.stat().st_size:
        os.truncate(out, whole)
    return ids
