"""A reward of one's own: `FILE.py:FUNCTION` names a traceable function of captions and clips.

    def plain(captions: Captions, clips: References) -> Array:  # f32[B G]; NaN: not scorable
        return -captions.words.mask.sum(-1) / 40.0

It is traced once before anything compiles: which of its arguments' fields it reads is found out so, and what is wrong
with it is said in one line. `host:FILE.py:FUNCTION` is another thing, see `host.py`.
"""

import importlib.util
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from emojax.config import ConfigError, Reward
from emojax.config.parts import Part
from emojax.rewards import words
from emojax.types import Array, References, Text

_CLIPS, _SAMPLES, _REFERENCES, _TOKENS = 2, 3, 4, 5  # B, G, R, T of the shapes that it is traced with


@dataclass(frozen=True)
class Own:
    function: Callable[[Any, Any], Array]
    needs: frozenset[str] = field(default=frozenset())


def NEEDS(options: Own) -> frozenset[str]:
    return options.needs


def score(options: Own, arrays: None, captions: Any, clips: References) -> Array:
    with _usual():
        return options.function(captions, clips).astype(jnp.float32)


@contextmanager
def _usual() -> Iterator[None]:
    """jax as it is unless it is set otherwise: a function of one's own is held to no rules of the house."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def is_own(name: str) -> bool:
    return ".py:" in name


def load(part: Part, reward: Reward) -> Own:
    """The function, looked at. Raises ConfigError for all that is wrong with it."""
    what = f"reward.parts: {part.file}"
    if part.options:
        raise ConfigError(f"{what} can be told nothing in brackets but `as` and `if`, got {part.options[0][0]}")
    call = function(part.file, what)
    asked: set[str] = set()
    jaxpr = _traced(partial(call, _captions(reward, asked), _clips(reward, asked)), what)
    (got,) = jaxpr.out_avals
    wanted = (_CLIPS, _SAMPLES)
    if got.shape != wanted or not jnp.issubdtype(got.dtype, jnp.floating):
        raise ConfigError(
            f"{what} wants to give a floating-point number for each caption, [B G]: {list(wanted)} for {_CLIPS} clips "
            f"with {_SAMPLES} captions, got {got.dtype}{list(got.shape)}"
        )
    if callbacks := sorted(_callbacks(jaxpr.jaxpr)):
        raise ConfigError(
            f"{what} calls the host ({', '.join(callbacks)}), but a step is one program: leave the call out, or name a "
            f"function that the host runs by host:{part.file}"
        )
    return Own(call, frozenset(asked))


def function(name: str, what: str) -> Callable[..., Any]:
    """A function by FILE.py:FUNCTION."""
    file, _, called = name.rpartition(":")
    path = Path(file).expanduser()
    if not path.is_file():
        raise ConfigError(f"{what}: there is no file {path.absolute()}")
    spec = importlib.util.spec_from_file_location(f"emojax_own_{path.stem}", path)
    assert spec, "the name of a file of Python ends with .py"
    assert spec.loader, "and has a loader"
    module: ModuleType = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as e:
        raise ConfigError(f"{what}: the file cannot be run: {_line(e)}") from e
    found = getattr(module, called, None)
    if not callable(found):
        there = sorted(name for name, x in vars(module).items() if callable(x) and not name.startswith("_"))
        raise ConfigError(f"{what}: the file has no function {called}; it has {', '.join(there) or 'none'}")
    return found


def _traced(call: Callable[[], Any], what: str) -> Any:
    kept = "a value of the trace is kept beyond the call (in a global or an object)"
    try:
        with _usual(), jax.checking_leaks():
            jaxpr = jax.make_jaxpr(call)()
    except ConfigError as e:
        raise ConfigError(f"{what}: {e}") from None
    except Exception as e:
        why = kept if "Leaked" in str(e) else _line(e)
        raise ConfigError(f"{what} cannot be part of the program: {why}") from e
    if len(jaxpr.out_avals) != 1:
        raise ConfigError(f"{what} wants to give one array, got {len(jaxpr.out_avals)}")
    return jaxpr


def _line(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"


def _callbacks(jaxpr: Any) -> set[str]:
    """Primitives of a program that call the host."""
    found = set()
    for eqn in jaxpr.eqns:
        if re.search("callback|debug|infeed|outfeed", eqn.primitive.name):
            found.add(eqn.primitive.name)
        for value in eqn.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                found |= _callbacks(inner) if hasattr(inner, "eqns") else set()
    return found


class _Asked:
    """Stands for captions or clips in a trace: makes the fields that are read, and keeps their names."""

    def __init__(self, kind: type, made: dict[str, Callable[[], Any]], asked: set[str]) -> None:
        self._kind, self._made, self._asked = kind, made, asked

    def __getattr__(self, name: str) -> Any:
        if name not in self._made:
            raise ConfigError(
                f"{self._kind.__name__} has no {name} for a reward of one's own; it has {', '.join(self._made)}"
            )
        self._asked |= {name} - {"present"}
        self._asked |= {"tokens"} if name == "embedding" else set()
        return self._made[name]()


def _text(*shape: int) -> Text:
    return Text(jnp.zeros(shape, jnp.int32), jnp.ones(shape, bool))


def _captions(reward: Reward, asked: set[str]) -> Any:
    from emojax.rewards.inputs import Captions

    size = partial(_text, _CLIPS, _SAMPLES)
    made: dict[str, Callable[[], Any]] = {
        "policy": lambda: size(_TOKENS),
        "bytes": lambda: size(reward.max_bytes),
        "words": lambda: size(words.most(reward.max_bytes)),
        "tokens": lambda: size(_sentence(reward).text_tokens),
        "embedding": lambda: jnp.zeros((_CLIPS, _SAMPLES, _sentence(reward).width)),
    }
    assert set(made) == {f.name for f in fields(Captions)}
    return _Asked(Captions, made, asked)


def _clips(reward: Reward, asked: set[str]) -> Any:
    size = partial(_text, _CLIPS, _REFERENCES)
    made: dict[str, Callable[[], Any]] = {
        "present": lambda: jnp.ones((_CLIPS, _REFERENCES), bool),
        "policy": lambda: size(reward.max_tokens),
        "words": lambda: size(words.most(reward.max_bytes)),
        "tokens": lambda: size(_sentence(reward).text_tokens),
        "embedding": lambda: jnp.zeros((_CLIPS, _REFERENCES, _sentence(reward).width)),
        "transcript": lambda: _text(_CLIPS, words.most(reward.max_bytes)),
    }
    return _Asked(References, made, asked)


def _sentence(reward: Reward) -> Any:
    from emojax.rewards.reader import sentence_of

    return sentence_of(reward)
