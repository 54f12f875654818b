"""Configurations from presets and files, with overrides by name; and to JSON and back.

A preset is a Python file with `config() -> Config`. An override is `name=value`; the name is a path (`grpo.group`) or
its last parts, where only one field is called so (`group`). A wrong name is refused and the nearest one offered.

A part that may be of several kinds, or left out, is chosen by `name.family=KIND` or `name.family=none`: the kind's
defaults, which the overrides after it then change (`model.audio_projector.family=QFormer`, `queries=16`).
"""

import dataclasses
import importlib.util
import json
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from emojax.config import inert, typed
from emojax.config.aliases import family_now, old_modules
from emojax.config.schema import Config
from emojax.config.sizes import family
from emojax.errors import ConfigError, nearest
from emojax.storage import path_of, read_object

T = TypeVar("T")
_ELSEWHERE = {  # what other libraries call a field, and difflib cannot guess
    "lr": "learning_rate",
    "batch_size": "batch",
    "epochs": "steps",
    "max_steps": "steps",
    "num_generations": "group",
    "kl_coef": "beta",
    "max_completion_length": "caption_tokens",
    "max_new_tokens": "caption_tokens",
}


def folder() -> Path:
    """Where presets lie: beside the package in a checkout, inside it in a wheel."""
    inside = Path(__file__).parent / "builtin"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "configs"


def load(preset: str, overrides: Sequence[str] = ()) -> Config:
    """Reads a preset by its name, or a `.py` or `.json` file by its path, and applies `name=value` overrides.

    Raises:
      ConfigError: no such preset, field or value.
    """
    path = path_of(preset)
    if path.suffix not in (".py", ".json"):
        names = sorted(p.stem for p in folder().glob("*.py"))
        if preset not in names:
            raise ConfigError(f"no preset is called {preset!r}{nearest(preset, names)}; there are: {', '.join(names)}")
        path = folder() / f"{preset}.py"
    if not path.is_file():
        raise ConfigError(f"no configuration file at {path}")
    if path.suffix == ".json":
        return changed(read_json(path), overrides)
    cfg, asked = _overridden(_run(path), overrides)
    inert.check(cfg, asked)
    return cfg


def changed(saved: Config, overrides: Sequence[str]) -> Config:
    """`override` of a configuration as a run saved it, which is refused nothing but what the overrides ask in vain."""
    cfg, asked = _overridden(saved, overrides)
    inert.check(cfg, asked, saved=True)
    return cfg


def _run(path: Path) -> Config:
    spec = importlib.util.spec_from_file_location(f"emojax_config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} cannot be read as Python")
    module = importlib.util.module_from_spec(spec)
    with old_modules():
        spec.loader.exec_module(module)
    made = config() if callable(config := getattr(module, "config", None)) else None
    if not isinstance(made, Config):
        raise ConfigError(f"{path} must define `config() -> emojax.config.Config`, got {type(made).__name__}")
    return made


def read_json(path: Path) -> Config:
    """Reads what `dumps` wrote."""
    try:
        values = read_object(path)
    except ValueError as e:
        raise ConfigError(str(e)) from None
    return typed.build(Config, values, "")


def part(cls: type[T], values: dict[str, Any], path: str) -> T:
    """A part of a configuration, of what `dumps` writes of it; `path` is its place, for messages."""
    return typed.build(cls, values, path)


def preset(name: str | Path = "demo", *overrides: str) -> Config:
    """The configuration of a preset or a file (`.py`, `.json`), with overrides by name.

    >>> preset("tiny", "steps=3", "grpo.group=2").grpo.group
    2

    Raises:
      ConfigError: no such preset, field or value; the nearest one is offered.
    """
    return load(str(name), overrides)


def dumps(cfg: Config) -> str:
    return json.dumps(_plain(cfg), indent=2, ensure_ascii=False)


def _plain(node: Any) -> Any:
    """Dataclasses as objects; where a field may hold several kinds, the kind is told by its name in "family"."""
    if not dataclasses.is_dataclass(node):
        return node
    hints = typing.get_type_hints(type(node))
    out = {}
    for f in dataclasses.fields(node):
        value = getattr(node, f.name)
        named = {"family": family(value)} if value is not None and len(typed.kinds(hints[f.name])) > 1 else {}
        out[f.name] = named | _plain(value) if dataclasses.is_dataclass(value) else _list(value)
    return out


def _list(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def override(cfg: Config, overrides: Sequence[str]) -> Config:
    """Applies `name=value` in order; see the module's docstring.

    >>> cfg = override(Config("mine"), ["grpo.group=4", "temperature=0.7", "model.video.family=none"])
    >>> cfg.grpo.group, cfg.grpo.sampling.temperature, cfg.model.video
    (4, 0.7, None)
    """
    return _overridden(cfg, overrides)[0]


def _overridden(cfg: Config, overrides: Sequence[str]) -> tuple[Config, set[str]]:
    """And the paths of the fields that were set."""
    asked = set()
    for item in overrides:
        name, equals, text = item.partition("=")
        if not equals:
            raise ConfigError(f"an override is name=value, got {item!r}")
        path = _find(cfg, name.strip())
        cfg = _replace(cfg, path.split("."), path, text.strip())
        asked.add(path)
    return cfg, asked


def options(cls: type, written: Mapping[str, str], what: str) -> Any:
    """A dataclass of options that are written as text. Raises ConfigError, which begins with `what`."""
    hints = typing.get_type_hints(cls)
    for name in written:
        if name not in hints:
            raise ConfigError(f"{what} has no option {name!r}{nearest(name, list(hints))}; it has {sorted(hints)}")
    if missing := [name for name in typed.required(cls) if name not in written]:
        raise ConfigError(f"{what} wants {missing[0]}=VALUE in brackets")
    values = {n: t if typing.get_origin(hints[n]) is Literal else typed.parse(t) for n, t in written.items()}
    with typed.named(what):
        return cls(**{name: typed.coerce(value, hints[name], f"{what}: {name}") for name, value in values.items()})


def _paths(cfg: Any, prefix: str = "") -> list[str]:
    hints, out = typing.get_type_hints(type(cfg)), []
    for f in dataclasses.fields(cfg):
        value = getattr(cfg, f.name)
        out += _paths(value, f"{prefix}{f.name}.") if dataclasses.is_dataclass(value) else [prefix + f.name]
        out += [f"{prefix}{f.name}.family"] if _families(hints[f.name]) else []
    return out


def _families(hint: Any) -> dict[str, type | None]:
    """What a part may be by name, where it may be several things; none of them needs a value to be made."""
    if typing.get_origin(hint) is not types.UnionType:
        return {}
    nothing = {"none": None} if type(None) in typing.get_args(hint) else {}
    kinds = {family(kind): kind for kind in typed.kinds(hint) if not typed.required(kind)}
    return kinds | nothing if kinds else {}


def _find(cfg: Config, name: str) -> str:
    paths = _paths(cfg)
    if name in paths:
        return name
    ends = [p for p in paths if p.endswith("." + name)]
    if len(ends) > 1:
        raise ConfigError(f"{name!r} may be any of {', '.join(ends)}: write the whole path")
    if not ends:
        leaves = {p.rsplit(".", 1)[-1]: p for p in paths}
        meant = f", did you mean {_ELSEWHERE[name]!r}?" if name in _ELSEWHERE else nearest(name, [*paths, *leaves])
        raise ConfigError(f"no field is called {name!r}{meant}")
    return ends[0]


def _replace(node: Any, parts: list[str], path: str, text: str) -> Any:
    name, *rest = parts
    if rest == ["family"]:
        value = _chosen(getattr(node, name), _families(typing.get_type_hints(type(node))[name]), path, text)
    elif rest:
        value = _replace(getattr(node, name), rest, path, text)
    else:
        hint = typing.get_type_hints(type(node))[name]
        parsed = text if typing.get_origin(hint) is Literal else typed.parse(text)  # "none" is a name there
        value = typed.coerce(parsed, hint, path)
    with typed.named(path if not rest else ""):
        return dataclasses.replace(node, **{name: value})


def _chosen(value: Any, families: dict[str, type | None], path: str, text: str) -> Any:
    """A part of the kind that `text` names, with its defaults; the part itself, where it is of that kind."""
    text = family_now(text)
    if text not in families:
        raise ConfigError(f"{path} is one of {', '.join(families)}, got {text!r}{nearest(text, list(families))}")
    kind = families[text]
    return value if kind is type(value) else kind and kind()
