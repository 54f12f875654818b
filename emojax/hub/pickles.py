"""Weights that are published as a pickle only, which can run code when it is read: how they become safetensors."""

from pathlib import Path

from emojax.storage import read_object

_AUTO = {"bart": "AutoModelForSeq2SeqLM"} | dict.fromkeys(
    ("gpt2", "llama", "mistral", "qwen2", "qwen3"), "AutoModelForCausalLM"
)
"""The class of transformers that reads a language model with its head, by model_type; `AutoModel` reads an encoder."""


def conversion(config: Path, folder: str | Path) -> str:
    """The command that writes safetensors beside a pickle, where torch is installed.

    The class is told by the model's type, not by its `architectures`: these are null or a class of somebody's own in
    many a speech-emotion model.

    Args:
      config: the model's `config.json`, where it is at hand.
      folder: where model and pickle lie.
    """
    try:
        kind = read_object(config).get("model_type")
    except (OSError, ValueError):
        kind = None
    auto = _AUTO.get(kind, "AutoModel") if isinstance(kind, str) else "AutoModel"
    return f"python -c \"import transformers as t; d = '{folder}'; t.{auto}.from_pretrained(d).save_pretrained(d)\""
