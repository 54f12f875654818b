"""The reward of plain strings, on the host: references before training, captions when they are evaluated."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emojax.parallel import sharding
from emojax.rewards import emotion
from emojax.rewards.inputs import Captions, RewardModel, RewardStatic
from emojax.rewards.reader import Reader, Scored
from emojax.rewards.score import compare
from emojax.types import Array, References, Text

_compare = jax.jit(compare, static_argnums=1)


def references(read: Reader, clips: Sequence[Scored], limit: int) -> References:
    """What the parts read of clips, as numpy arrays with one row a clip.

    Args:
      limit: R, captions of each clip that are used, the first ones; one without a single letter counts as absent.
    """
    return lookup(read, clips, limit)(np.arange(len(clips)))


def lookup(
    read: Reader, clips: Sequence[Scored], limit: int, ahead: np.ndarray | None = None
) -> Callable[[np.ndarray], References]:
    """`references` of any rows i64[B] of `clips`. An embedding is made when it is asked for first, all else at once.

    Args:
      ahead: i64[N] rows that will be asked for, embedded at once.
    """
    rows = [[*clip.captions[:limit], *[""] * (limit - len(clip.captions))] for clip in clips]
    texts, index = _once([text for row in rows for text in row])
    index, needs = index.reshape(len(clips), limit), read.needs

    def of(make: Callable[[Sequence[str]], Any]) -> Any:
        return jax.tree.map(lambda x: x[index], make(texts))

    tokens = of(read.tokens) if "tokens" in needs else None
    there: Any = (
        np.array([bool(text.strip()) for text in texts], bool)[index] if tokens is None else tokens.mask.any(-1)
    )
    own = {part.part.name: found for part in read.parts if (found := part.called("of_clips", read, clips)) is not None}
    whole = References(
        present=there,
        tokens=tokens,
        words=of(read.words) if "words" in needs else None,
        policy=of(lambda texts: read.written(texts, read.reward.max_tokens)) if "policy" in needs else None,
        transcript=read.words([clip.transcript or "" for clip in clips]) if "transcript" in needs else None,
        own=own,
    )
    embedded, vectors = np.zeros(len(texts), bool), None

    def embedding(wanted: np.ndarray) -> np.ndarray:
        nonlocal vectors
        new = np.unique(wanted[~embedded[wanted]])
        if len(new) or vectors is None:
            # the training loop asks where transfers are forbidden and programs run on the mesh of all processes
            with jax.transfer_guard("allow"), jax.set_mesh(sharding.alone()):
                found = read.embed([texts[n] for n in new])
            vectors = np.zeros((len(texts), found.shape[1]), np.float32) if vectors is None else vectors
            vectors[new], embedded[new] = found, True
        return vectors[wanted]

    def of_rows(asked: np.ndarray) -> References:
        found = jax.tree.map(lambda x: x[asked], whole)
        return dataclasses.replace(found, embedding=embedding(index[asked])) if "embedding" in needs else found

    if ahead is not None and "embedding" in needs:
        embedding(index[ahead])
    return of_rows


def _once(texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Each text once, however many share it, and the place of each of them there."""
    place = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    return list(place), np.array([place[text] for text in texts], int)


def score_texts(
    model: RewardModel, static: RewardStatic, read: Reader, captions: Sequence[str], clips: Sequence[Scored]
) -> dict[str, np.ndarray]:
    """Rewards of one caption a clip, from strings: `reward` and its parts by name, f32[clips] each.

    Equal to those of `score` for captions that a policy sampled: truncated after as many bytes and tokens. The policy's
    tokens are here those that its tokenizer makes of the text; a policy may spell it by others.
    """
    once = list({id(clip): clip for clip in clips}.values())  # floors ask of the same clips again and again
    row = {id(clip): n for n, clip in enumerate(once)}
    limit = max((len(clip.captions) for clip in clips), default=0)
    refs = lookup(read, once, limit)(np.array([row[id(clip)] for clip in clips], int))
    captions = [text.encode(errors="replace")[: static.max_bytes].decode(errors="replace") for text in captions]
    texts, index = _once(captions)
    found = jax.tree.map(lambda x: x[index][:, None], _read(read, texts))
    with jax.default_matmul_precision("float32"):
        total, parts = _compare(model, static, found, refs)
    return {name: np.asarray(r)[:, 0] for name, r in ({"reward": total} | parts).items()}


def _read(read: Reader, texts: Sequence[str]) -> Captions:
    """Captions [texts ...], without the axis G."""
    needs = read.needs
    policy = read.written(texts, read.reward.max_bytes) if "policy" in needs else Text(*_nothing(len(texts)))
    return Captions(
        policy=policy,
        bytes=read.spelled(texts) if "bytes" in needs else None,
        words=read.words(texts) if "words" in needs else None,
        tokens=read.tokens(texts) if "tokens" in needs else None,
        embedding=read.embed(texts) if "embedding" in needs else None,  # pyright: ignore[reportArgumentType] numpy stands for an array
    )


def _nothing(rows: int) -> tuple[Any, Any]:
    return np.zeros((rows, 1), np.int32), np.zeros((rows, 1), bool)


def coordinates_of_texts(model: RewardModel, read: Reader, captions: Sequence[str]) -> np.ndarray:
    """Where captions lie among the emotions, f32[captions C]; a column a concept, unless `orthonormal`.

    Raises ValueError where the reward has no part `emotion`.
    """
    if "emotion" not in model.parts:
        raise ValueError(f"the reward {list(read.reward.parts)} has no emotion coordinates; give it the part emotion")
    embedded: Array = jnp.asarray(read.embed(captions))
    with jax.default_matmul_precision("float32"):
        return np.asarray(emotion.project(model.parts["emotion"], embedded))
