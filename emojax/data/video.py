"""A video file to frames, evenly spaced in time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from emojax.data.container import MediaError, open_media, video_stream

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream


Filter = Literal["area", "bilinear", "bicubic"]


def decode_video(
    path: Path, frames: int, size: int, resize: int | None = None, filter: Filter = "area"
) -> np.ndarray | None:
    """The frames shown at the centres of `frames` equal parts of the video, resized.

    A rotation that a phone wrote into the container is applied. A video with fewer frames than asked for repeats them,
    each for as long as it is shown.

    Args:
      size: pixels, height and width of the result.
      resize: pixels of a frame's shortest edge, from whose centre the result is cut, at least `size`; None: a frame is
        squeezed to a square, whatever its shape.
      filter: "area" averages; the others are Pillow's, which the image processors of published encoders use.
    Returns:
      u8[frames size size 3] RGB, or None where the container has no video stream (a cover picture is not one).
    Raises:
      MediaError: missing, empty, cut off, damaged, or without a frame.
    """
    import av.error

    with open_media(path) as container:
        stream = video_stream(container)
        if stream is None:
            return None
        stream.thread_type = "NONE"  # a worker process is one core's worth; frame threads would also delay output
        try:
            plan = _plan(path, container, stream, frames)
            container.seek(0)
            picture = partial(_picture, size=size, resize=resize, filter=filter)
            return np.stack(list(_shown(path, container, stream, plan, picture)))
        except av.error.FFmpegError as e:
            raise MediaError(path, f"has video that cannot be decoded ({e.strerror})") from None


@dataclass(frozen=True)
class _Plan:
    """What the packets say before any is decoded, in units of the stream's time base."""

    times: np.ndarray  # f64[frames] to be shown
    needed: np.ndarray  # bool[packets], in the order of the file: must be decoded
    clock: np.ndarray | None  # f64[packets] when the n-th frame that comes out is shown; None: it knows itself


def _plan(path: Path, container: "InputContainer", stream: "VideoStream", frames: int) -> _Plan:
    found = [
        (p.pts if p.pts is not None else p.dts, p.duration or 0, p.is_keyframe, p.is_discard)
        for p in container.demux(stream)
        if p.size
    ]
    if not any(not discard for *_, discard in found):
        raise MediaError(path, "has a video stream without a frame")
    start = np.array([i if s is None else s for i, (s, *_) in enumerate(found)], np.float64)
    duration, keyframe, discard = (np.array(column) for column in list(zip(*found, strict=True))[1:])
    usual = float(np.median(np.diff(np.sort(start)))) if len(start) > 1 else 1.0
    end = (start + np.where(duration > 0, duration, usual))[~discard].max()
    first = start[~discard].min()
    times = first + (np.arange(frames) + 0.5) / frames * (end - first)
    if container.format.name == "avi":
        # AVI stores no display times: frames come out in the order shown, whatever times the demuxer made up for them.
        return _Plan(times, np.ones(len(start), bool), np.sort(start))

    # Only groups of pictures that hold a wanted frame are decoded. A frame shown before the key frame of its own group
    # leans on the group before as well.
    group = np.maximum(np.cumsum(keyframe) - 1, 0)
    key = np.searchsorted(group, group)
    order = np.argsort(start, kind="stable")
    wanted = order[np.maximum(np.searchsorted(start[order], times, side="right") - 1, 0)]
    groups = np.union1d(group[wanted], (group[wanted] - 1)[start[wanted] < start[key[wanted]]])
    return _Plan(times, np.isin(group, groups), None)


def _shown(
    path: Path,
    container: "InputContainer",
    stream: "VideoStream",
    plan: _Plan,
    picture: "Callable[[VideoFrame], np.ndarray]",
) -> Iterator[np.ndarray]:
    """One picture per wanted time: the last frame whose time has come."""
    due, last = 0, None
    for n, frame in enumerate(_frames(container, stream, plan)):
        if frame.is_corrupt:
            raise MediaError(path, "has a damaged video frame")
        shown_from = plan.clock[min(n, len(plan.clock) - 1)] if plan.clock is not None else frame.pts or frame.dts or 0
        upto = int(np.searchsorted(plan.times, shown_from)) if last is not None else 0
        if last is not None and upto > due:
            yield from [picture(last)] * (upto - due)
            due = upto
        last = frame
    if last is None:
        raise MediaError(path, "has a video stream without a frame")
    if due < len(plan.times):
        yield from [picture(last)] * (len(plan.times) - due)


def _frames(container: "InputContainer", stream: "VideoStream", plan: _Plan) -> "Iterator[VideoFrame]":
    """Frames of the needed packets, in the order shown."""
    decoder, running = stream.codec_context, False
    packets = (p for p in container.demux(stream) if p.size)
    for packet, needed in zip(packets, plan.needed, strict=False):
        if needed:
            yield from decoder.decode(packet)
        elif running:  # a gap: let out the frames held back for reordering, and forget the references
            yield from decoder.decode(None)
            decoder.flush_buffers()
        running = bool(needed)
    yield from decoder.decode(None)


def _picture(frame: "VideoFrame", size: int, resize: int | None, filter: Filter) -> np.ndarray:
    turns = round(frame.rotation / 90)
    if filter != "area":
        return fit(np.rot90(frame.to_ndarray(format="rgb24"), turns), size, resize, filter)
    height, width = _scaled(frame.height, frame.width, size, resize)
    small = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA").to_ndarray()
    return _centre(np.rot90(small, turns), size)


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
