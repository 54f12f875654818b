"""Files of features that are not what they say: refused in one line, nothing unpickled, no room made for a lie."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from emojax.data.clips import Clip
from emojax.data.feature_files import Broken, Facts, digest, facts_of, open_features, read_features, write_features
from emojax.data.features import read_npy
from support.mutations import mutated, noisy, refusals

X = np.arange(33, dtype=np.float32).reshape(3, 11)


def noisy_header(data: bytes, r: random.Random) -> bytes:
    """The text that a NumPy file begins with is where its readers are led astray."""
    size = 128
    return noisy(data[:size], r) + data[size:] if r.random() < 0.8 else noisy(data, r)


@pytest.mark.parametrize("count", [200, pytest.param(700, marks=pytest.mark.slow)])
def test_a_mutated_array_is_read_or_named(count: int, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, X)
    found = refusals(path, lambda: read_npy(path, "a", 11), count, mutate=noisy_header)
    assert len(found) > count // 2
    assert not [e for e in found if "a.npy (clip 'a'): " not in str(e) or "\n" in str(e)]


@pytest.mark.parametrize("shape", [(10**12, 11), (2**62, 11), (10**400, 11), (-1, 11), (3, 11, 0), (True, 11)])
def test_a_shape_that_the_file_cannot_hold_makes_no_array(shape: tuple, tmp_path: Path) -> None:
    header = str({"descr": "<f4", "fortran_order": False, "shape": shape}).encode().ljust(500) + b"\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + X.tobytes())
    with pytest.raises(ValueError, match=r"a\.npy \(clip 'a'\): (not a whole|got float32)"):
        read_npy(tmp_path / "a.npy", "a", 11)


def test_rows_that_lie_by_columns_are_read_as_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.asfortranarray(X))
    np.testing.assert_array_equal(read_npy(tmp_path / "a.npy", "a", 11), X)


def folder(at: Path) -> Path:
    """One file of features, of a clip and a broken one."""
    streams = {"audio": {"family": "MelEncoder", "width": 11, "sha256": "0"}}
    facts = Facts(("audio",), 16_000, False, 1.0, {"audio": digest(X)})
    about = {"format": 1, "precision": "float32", "streams": streams}
    write_features(at, 1, about, {"a": facts}, {"audio/a": X}, {"b": Broken("b.wav", "cut off", 1.0)})
    return at / "features-000001.safetensors"


def read(at: Path) -> None:
    features = open_features(at)
    assert features is not None
    for clip in (Clip("a", audio=Path("a.wav")), Clip("b", audio=Path("b.wav"))):
        if clip.id in features.clips:
            facts_of(features, clip)
            read_features(features, clip, "audio", 11)


def other_words(data: bytes, r: random.Random) -> bytes:
    """A whole file whose metadata say something else."""
    about = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    part = r.choice(sorted(about))
    made = mutated(about[part].encode(), r).decode(errors="replace")
    return save(load(data), about | {part: made})


@pytest.mark.parametrize("count", [150, pytest.param(700, marks=pytest.mark.slow)])
@pytest.mark.parametrize("mutate", [noisy, other_words])
def test_a_mutated_file_of_features_is_read_or_named(mutate, count: int, tmp_path: Path) -> None:
    path = folder(tmp_path)
    read(tmp_path)
    found = refusals(path, lambda: read(tmp_path), count, mutate=mutate)
    assert len(found) > count // 4
    assert not [e for e in found if "features-000001.safetensors" not in str(e)]


def test_a_name_that_no_run_gives_is_refused(tmp_path: Path) -> None:
    folder(tmp_path).rename(tmp_path / "features-last.safetensors")
    with pytest.raises(ValueError, match=r"features-last.safetensors: `emojax encode` gives no such name"):
        open_features(tmp_path)
