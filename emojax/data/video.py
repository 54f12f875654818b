"""A video file to frames, evenly spaced in time."""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from emojax.data.container import MediaError, open_media, require_codec, video_stream

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream


Filter = Literal["area", "bilinear", "bicubic"]
_FALL = 0.5  # seconds that a clock falls back by where it wrapped or began again; less is a writer's carelessness
_LEAP = 30 * 3600.0  # seconds ahead that are no pause; FFmpeg's own measure
_HELD = 1 << 26  # bytes of a file whose packets are held between planning and decoding; a longer one is read twice


def decode_video(
    path: Path,
    frames: int,
    size: int,
    resize: int | None = None,
    filter: Filter = "area",
    start: float = 0.0,
    end: float | None = None,
) -> np.ndarray | None:
    """The frames shown at the centres of `frames` equal parts of the video, resized.

    What a phone wrote into the container of how it was held is applied, mirrors included. A video with fewer frames
    than asked for repeats them, each for as long as it is shown.

    Args:
      size: pixels, height and width of the result.
      resize: pixels of a frame's shortest edge, from whose centre the result is cut, at least `size`; None: a frame is
        squeezed to a square, whatever its shape.
      filter: "area" averages; the others are Pillow's, which the image processors of published encoders use.
      start: seconds into the file at which the clip begins. end: at which it ends; None: with the file.
    Returns:
      u8[frames size size 3] RGB, or None where the container has no video stream (a cover picture is not one).
    Raises:
      MediaError: missing, empty, cut off, damaged, without a frame, or over before `start`.
    """
    import av.error

    picture = partial(_picture, scale=_scaler(), size=size, resize=resize, filter=filter)
    try:
        with open_media(path) as container:
            stream = video_stream(container)
            if stream is None:
                return None
            require_codec(path, stream)
            packets, index = _packets(container, stream), stream.index
            if path.stat().st_size <= _HELD:
                packets = list(packets)
                plan = _plan(path, container, stream, packets, frames, (start, end))
                return np.stack(list(_shown(path, stream, packets, plan, picture)))
            plan = _plan(path, container, stream, packets, frames, (start, end))
        with open_media(path) as container:  # again: where a film does not begin at 0, seeking there is not its start
            stream = next(s for s in container.streams.video if s.index == index)
            return np.stack(list(_shown(path, stream, _packets(container, stream), plan, picture)))
    except av.error.FFmpegError as e:
        raise MediaError(path, f"has video that cannot be decoded ({e.strerror})") from None


@dataclass(frozen=True)
class _Plan:
    """What the packets say before any is decoded, in units of the stream's time base."""

    times: np.ndarray  # f64[frames] to be shown
    start: np.ndarray  # i64[packets] when it is shown, on a clock that runs on; in the order of the file
    needed: np.ndarray  # bool[packets]: must be decoded
    clock: np.ndarray | None  # i64[packets] when the n-th frame that comes out is shown; None: it knows itself


def _packets(container: "InputContainer", stream: "VideoStream") -> "Iterator[Packet]":
    return (p for p in container.demux(stream) if p.size)


def _plan(
    path: Path,
    container: "InputContainer",
    stream: "VideoStream",
    packets: "Iterable[Packet]",
    frames: int,
    span: tuple[float, float | None],
) -> _Plan:
    found = [(p.pts, p.dts, p.duration or 0, p.is_keyframe, p.is_discard) for p in packets]
    if not any(not discard for *_, discard in found):
        raise MediaError(path, "has a video stream without a frame")
    duration, keyframe, discard = (np.array(column) for column in list(zip(*found, strict=True))[2:])
    known = [pts is not None or dts is not None for pts, dts, *_ in found]
    start = _running([stamps[:2] for stamps in found], float(1 / stream.time_base) if stream.time_base else math.inf)
    usual = _usual(start)
    end = (start + np.where(duration > 0, duration, usual))[~discard].max()
    first = start[~discard].min()
    if span != (0.0, None):
        second = float(1 / stream.time_base) if stream.time_base else math.inf
        first, end = first + span[0] * second, end if span[1] is None else min(end, first + span[1] * second)
        if first >= end:
            raise MediaError(path, f"has a video stream that is over before its clip begins, at {span[0]:g} s")
    times = first + (np.arange(frames) + 0.5) / frames * (end - first)
    if container.format.name == "avi" or not all(known):
        # AVI stores no display times, nor does Matroska those before 0: frames come out in the order shown, whatever
        # times were made up for them.
        return _Plan(times, start, np.ones(len(start), bool), np.sort(start))

    # Only groups of pictures that hold a wanted frame are decoded. A frame shown before the key frame of its own group
    # leans on the group before as well.
    group = np.maximum(np.cumsum(keyframe) - 1, 0)
    key = np.searchsorted(group, group)
    order = np.argsort(start, kind="stable")
    wanted = order[np.maximum(np.searchsorted(start[order], times, side="right") - 1, 0)]
    groups = np.union1d(group[wanted], (group[wanted] - 1)[start[wanted] < start[key[wanted]]])
    return _Plan(times, start, np.isin(group, groups), None)


def _running(stamps: Sequence[tuple[int | None, int | None]], second: float) -> np.ndarray:
    """i64[packets] when each is shown. Where the clock falls back or leaps ahead, because it wrapped or because another
    recording was joined on, it is made to run on.

    Args:
      stamps: of each packet when it is shown and when it is decoded.
      second: in ticks.
    """
    known = np.array([i for i, (pts, dts) in enumerate(stamps) if pts is not None or dts is not None])
    if not len(known):
        return np.arange(len(stamps))
    shown = np.array([stamps[i][1] if stamps[i][0] is None else stamps[i][0] for i in known])
    decoded = np.array([x if stamps[i][1] is None else stamps[i][1] for i, x in zip(known, shown, strict=True)])
    step = np.diff(decoded)
    usual = _usual(decoded)
    breaks = (step < -_FALL * second) | (step > _LEAP * second)
    shown[1:] += np.cumsum(np.where(breaks, round(usual) - step, 0))
    if len(known) == len(stamps):
        return shown
    # those without a stamp are spread evenly between those with one, or before the first of them
    before = np.arange(-known[0], 0) * usual + shown.min()
    return np.round(np.interp(np.arange(len(stamps)), [*range(known[0]), *known], [*before, *np.sort(shown)])).astype(
        int
    )


def _usual(start: np.ndarray) -> float:
    """Ticks between two frames."""
    return float(np.median(np.diff(np.sort(start)))) if len(start) > 1 else 1.0


def _shown(
    path: Path,
    stream: "VideoStream",
    packets: "Iterable[Packet]",
    plan: _Plan,
    picture: "Callable[[VideoFrame], np.ndarray]",
) -> Iterator[np.ndarray]:
    """One picture per wanted time: the last frame whose time has come."""
    times, due, last = plan.times.tolist(), 0, None
    for n, frame in enumerate(_frames(stream, packets, plan)):
        if frame.is_corrupt:
            raise MediaError(path, "has a damaged video frame")
        stamp = frame.pts if frame.pts is not None else frame.dts or 0
        shown_from = stamp if plan.clock is None else plan.clock[min(n, len(plan.clock) - 1)]
        upto = bisect_left(times, shown_from) if last is not None else 0
        if last is not None and upto > due:
            yield from [picture(last)] * (upto - due)
            due = upto
        last = frame
    if last is None:
        raise MediaError(path, "has a video stream without a frame")
    if due < len(times):
        yield from [picture(last)] * (len(times) - due)


def _frames(stream: "VideoStream", packets: "Iterable[Packet]", plan: _Plan) -> "Iterator[VideoFrame]":
    """Frames of the needed packets, in the order shown, each with the plan's stamp."""
    stream.thread_type = "NONE"  # a worker process is one core's worth; frame threads would also delay output
    decoder, running = stream.codec_context, False
    for packet, start, needed in zip(packets, plan.start.tolist(), plan.needed, strict=True):
        if plan.clock is None:
            packet.pts = start
        if needed:
            yield from decoder.decode(packet)
        elif running:  # a gap: let out the frames held back for reordering, and forget the references
            yield from decoder.decode(None)
            decoder.flush_buffers()
        running = bool(needed)
    yield from decoder.decode(None)


def _scaler() -> "Callable[..., VideoFrame]":
    """FFmpeg's scaler, made ready once for all frames of a film; in one thread, for to start others costs more than
    they save."""
    import av
    from av.video.reformatter import VideoReformatter

    alone: dict[str, Any] = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}  # before it had no others
    return partial(VideoReformatter().reformat, format="rgb24", **alone)


def _picture(
    frame: "VideoFrame", scale: "Callable[..., VideoFrame]", size: int, resize: int | None, filter: Filter
) -> np.ndarray:
    matrix = _matrix(frame)
    if filter != "area":
        return fit(_displayed(scale(frame).to_ndarray(), matrix), size, resize, filter)
    height, width = _scaled(frame.height, frame.width, size, resize)
    small = scale(frame, width=width, height=height, interpolation="AREA").to_ndarray()
    return _centre(_displayed(small, matrix), size)


def resized(frames: np.ndarray, size: int, resize: int | None, filter: Filter) -> np.ndarray:
    """u8[S height width 3] -> u8[S size size 3], as a film's frames are."""
    import av

    made = (av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24") for frame in frames)
    scale = _scaler()
    return np.stack([_picture(frame, scale, size, resize, filter) for frame in made])


def _matrix(frame: "VideoFrame") -> np.ndarray:
    """f64[2 2] of the display matrix: a pixel right, and a pixel down, to (right, down) on the screen."""
    found = frame.side_data.get("DISPLAYMATRIX")
    return np.eye(2) if found is None else np.frombuffer(bytes(found), np.int32)[[0, 1, 3, 4]].reshape(2, 2) / 2**16


def _displayed(picture: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Turned to the nearest quarter and mirrored, as FFmpeg and players show it."""
    (a, b), (c, d) = matrix
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture, a, d = picture.swapaxes(0, 1), c, b
    return picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def fit(picture: np.ndarray, size: int, resize: int | None, filter: Literal["bilinear", "bicubic"]) -> np.ndarray:
    """u8[height width 3] -> u8[size size 3], to the bit as the image processors of transformers do it with Pillow."""
    from PIL import Image

    height, width = _scaled(picture.shape[0], picture.shape[1], size, resize)
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    return _centre(np.asarray(Image.fromarray(picture).resize((width, height), filters[filter])), size)


def _scaled(height: int, width: int, size: int, resize: int | None) -> tuple[int, int]:
    if resize is None:
        return size, size
    longest = int(resize * max(height, width) / min(height, width))
    return (resize, longest) if height <= width else (longest, resize)


def _centre(picture: np.ndarray, size: int) -> np.ndarray:
    top, left = ((n - size) // 2 for n in picture.shape[:2])
    return picture[top : top + size, left : left + size]
