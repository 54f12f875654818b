"""The datasets that `emojax import` reads."""

from emojax.datasets import (
    crema_d,
    dfew,
    emer,
    emotiontalk,
    emov_db,
    esd,
    iemocap,
    mafw,
    meld,
    mer2023,
    mer2024,
    mer2025,
    ravdess,
    secap,
)
from emojax.datasets.dataset import Dataset
from emojax.datasets.tree import DatasetError
from emojax.errors import nearest

_READERS = (
    emotiontalk,
    mer2025,
    emer,
    mafw,
    secap,
    mer2023,
    mer2024,
    meld,
    iemocap,
    crema_d,
    ravdess,
    dfew,
    esd,
    emov_db,
)
DATASETS = {reader.DATASET.name: reader.DATASET for reader in _READERS}


def named(name: str) -> Dataset:
    """Raises DatasetError where there is none of that name."""
    if name not in DATASETS:
        raise DatasetError(
            f"no dataset {name!r} is known{nearest(name, list(DATASETS))}; `emojax import --list` shows all"
        )
    return DATASETS[name]


def listing() -> list[str]:
    """A dataset a line, with what it may be asked for."""
    out = []
    for d in DATASETS.values():
        asked = [f"--fold 1..{d.folds}"] if d.folds else []
        values = (("truth", d.truths), ("classes", d.classes), ("split", d.splits), ("also", d.parts))
        asked += [
            f"--{name} {'|'.join(known)}" for name, known in (*values, ("language", d.caption_languages)) if known
        ]
        asked += [f"--{name.replace('_', '-')} PATH" for name in d.takes]
        out.append(f"{d.name:<12} {d.title}: {d.task}; {d.languages}; {d.streams}; {d.licence}; {d.where}")
        out += [f"{'':<12} {' '.join(asked)}"] if asked else []
    return out
