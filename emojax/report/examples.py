"""The clips that were described best and worst, to be seen and heard, and what was sampled while training went on."""

import base64
from collections.abc import Sequence
from pathlib import Path

from emojax.data.clip import Clip
from emojax.data.container import MediaError, probe
from emojax.data.isolated import call
from emojax.evaluation.by_clip import Scored
from emojax.report.media import small
from emojax.report.page import Html, element, joined, section
from emojax.report.runs import FLOORS, Run, Stage
from emojax.report.tables import table

_MOST = 10  # clips at either end
_LONGEST = 15.0  # seconds of a clip that is embedded
_ROOM = 2_500_000  # bytes of media that a page holds


def ends(run: Run) -> Html:
    """The fewest wrong facts first, among equals the highest reward, as in `report.md`."""
    name = run.judged
    if name is None:
        return Html()
    order = sorted(run.clips, key=lambda one: (len(one.said[name].wrong), -one.said[name].scores["reward"]))
    best, worst = order[:_MOST], order[_MOST:][-_MOST:][::-1]
    files = _embedded([*best, *worst])
    shown = ([_clip(one, files[one.clip.id]) for one in side] for side in (best, worst))
    right, wrong = (element("div", *side, at={"class": "clips"}) if side else "" for side in shown)
    return joined(section("Where it was right", right), section("Where it was most wrong", wrong))


def _embedded(clips: Sequence[Scored]) -> dict[str, Html]:
    """Media by clip id: to be played in the page as long as it has room, else to be opened."""
    out, left = {}, _ROOM
    for one in clips:
        file = _small(one.clip)
        if file is not None and len(file) <= left:
            left -= len(file)
            kind = "video" if one.clip.video is not None else "audio"
            source = f"data:{kind}/mp4;base64,{base64.b64encode(file).decode()}"
            at = {"controls": "", "preload": "metadata", "src": source, "aria-label": f"Clip {one.clip.id}"}
            out[one.clip.id] = element(kind, at=at)
        else:
            out[one.clip.id] = _links(one.clip)
    return out


def _small(clip: Clip) -> bytes | None:
    """None where it is too long, is no file here, or cannot be read."""
    sound, film = (media if isinstance(media, Path) else None for media in (clip.audio, clip.video))
    path = sound or film
    if path is None:
        return None
    try:
        seconds = clip.seconds or (clip.end or call(probe, path).seconds or 0.0) - (clip.start or 0.0)
        if not 0 < seconds <= _LONGEST:
            return None
        return call(small, path, sound is not None, film, seconds, clip.start or 0.0, clip.end)
    except (MediaError, RuntimeError):
        return None


def _links(clip: Clip) -> Html:
    paths = dict.fromkeys(path for path in (clip.audio, clip.video) if isinstance(path, Path))
    links = [element("a", path.name, at={"href": path.absolute().as_uri()}) for path in paths if path.exists()]
    gone = [element("span", f"{path.name} is not there") for path in paths if not path.exists()]
    return element("p", *(joined(one, " ") for one in links + gone), at={"class": "soft"}) if paths else Html()


def _clip(one: Scored, media: Html) -> Html:
    told = [one.clip.emotion or "", *(f"{name}: {value}" for name, value in one.clip.attributes.items())]
    parts = [("reference", one.clip.captions[0])]
    for name, said in one.said.items():
        if name not in FLOORS:
            wrong = f"; wrong: {', '.join(said.wrong)}" if said.wrong else ""
            parts.append((f"{name}, reward {said.scores['reward']:.2f}{wrong}", said.caption))
    if one.clip.transcript:
        parts.append(("said", one.clip.transcript))
    lines = [joined(element("dt", name), element("dd", text, at={"dir": "auto"})) for name, text in parts]
    known = element("p", ", ".join(filter(None, told)), at={"class": "soft"})
    return element("article", element("h3", one.clip.id), known, media, element("dl", *lines), at={"class": "clip"})


def samples(run: Run) -> Html:
    """What was sampled of a clip at some steps: how far the captions had come by then."""
    return section("Samples through training", *(found for stage in run.stages if (found := _samples(stage))))


def _samples(stage: Stage) -> Html:
    rows = []
    for line in stage.samples:
        captions = line.get("captions")
        for one in captions if isinstance(captions, list) else ():
            if isinstance(one, dict):
                reward = one.get("reward")
                shown = f"{reward:.3f}" if isinstance(reward, int | float) else ""
                rows.append([f"{line['step']}, {one.get('id', '')}", shown, str(one.get("caption", ""))])
    return table(["step, clip", "reward", "caption"], rows, numbers=False, caption=stage.title)
