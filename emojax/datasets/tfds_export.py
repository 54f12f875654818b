"""A manifest to a dataset of TFDS, array_record, without TensorFlow; or to a folder that `tfds build` takes."""

import hashlib
import importlib.util
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from emojax.data.clip import Clip
from emojax.data.clips import read_manifest, record
from emojax.datasets.tree import DatasetError
from emojax.storage import writing

_SOURCE = Path(__file__).with_name("tfds_builder.py")
_SAFE = re.compile(r"[a-z][a-z0-9_]*")
_TAGS = "content.data-type.audio # Contains audio data.\ncontent.data-type.speech # Contains speech data.\n"


@dataclass(frozen=True)
class About:
    """What a dataset says of itself."""

    name: str
    version: str = "1.0.0"
    license: str = ""
    homepage: str = ""
    citation: str = ""  # BibTeX
    description: str = ""


def export(manifest: Path, out: Path, about: About) -> Path:
    """Writes `out`/NAME/VERSION and returns it; what is there already with the same records is left as it is.

    Raises:
      DatasetError: a name or version that TFDS does not take; the version is there with other records; TFDS is not
        installed. ManifestError: as `read_manifest`.
    """
    _check(about)
    tfds = _library()
    clips = _clips(manifest)
    digest = digest_of(clips, manifest)
    target = out / about.name / about.version
    if target.exists():
        if _digest_there(target) == digest:
            return target
        raise DatasetError(f"{target} holds other records; give another --version, or remove it")
    with tempfile.TemporaryDirectory(prefix="emojax-") as folder:
        made = write_builder(clips, Path(folder), about, digest)
        module = _load(made / f"{about.name}_dataset_builder.py", tfds)
        module.Builder.manifest = manifest.absolute()
        module.Builder.pkg_dir_path = tfds.core.Path(made)
        with writing(target):
            builder = module.Builder(data_dir=str(out), file_format="array_record")
            config = tfds.download.DownloadConfig(manual_dir=str(made))
            builder.download_and_prepare(download_dir=folder, download_config=config)
    return target


def export_builder(manifest: Path, out: Path, about: About) -> Path:
    """Writes the folder `out`/NAME that `tfds build` takes. Raises as `export`, and where it is there."""
    _check(about)
    if (out / about.name).exists():
        raise DatasetError(f"{out / about.name} is there; name another place, or remove it")
    clips = _clips(manifest)
    return write_builder(clips, out, about, digest_of(clips, manifest))


def write_builder(clips: Sequence[Clip], out: Path, about: About, digest: str) -> Path:
    """The folder of a dataset builder: TFDS's code, and what it says of itself."""
    folder = out / about.name
    emotions = sorted({clip.emotion for clip in clips if clip.emotion is not None}) or ["none"]
    texts = {
        "__init__.py": "",
        "about.json": json.dumps(asdict(about) | {"emotions": emotions, "digest": digest}, ensure_ascii=False),
        "README.md": about.description or f"{about.name}: clips of emotional speech with what is known of them.\n",
        "CITATIONS.bib": about.citation,
        "TAGS.txt": _TAGS,
        "checksums.tsv": "",
    }
    with writing(folder):
        folder.mkdir(parents=True)
        for name, text in texts.items():
            (folder / name).write_text(text, "utf-8")
        shutil.copy(_SOURCE, folder / f"{about.name}_dataset_builder.py")
    return folder


def digest_of(clips: Sequence[Clip], manifest: Path) -> str:
    """SHA-256 of all that a dataset is made of: the records, their media, their order."""
    whole = hashlib.sha256()
    for clip in clips:
        whole.update(json.dumps(record(clip), sort_keys=True).encode())
        for media in (clip.audio, clip.video):
            if not isinstance(media, Path | None):
                raise DatasetError(f"{manifest}: clip {clip.id!r} has no files; export the manifest that it came from")
            if media is not None:
                with media.open("rb") as file:
                    whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def _clips(manifest: Path) -> list[Clip]:
    if not manifest.is_file():
        raise DatasetError(f"{manifest}: no such file; give a JSONL manifest")
    return read_manifest(manifest)


def _check(about: About) -> None:
    if not _SAFE.fullmatch(about.name):
        raise DatasetError(f"--name {about.name}: TFDS wants small letters, digits and _, a letter first")
    if not re.fullmatch(r"\d+\.\d+\.\d+", about.version):
        raise DatasetError(f"--version {about.version}: TFDS wants three numbers, such as 1.0.0")


def _library() -> Any:
    try:
        import tensorflow_datasets  # pyright: ignore[reportMissingImports] an extra
    except ImportError as e:
        raise DatasetError(f"TFDS is not installed ({e}); pip install -e '.[tfds]' in the clone") from None
    return tensorflow_datasets


def _load(path: Path, tfds: Any) -> ModuleType:
    """The builder's module under its own name, which is the dataset's, without a place in TFDS's registry."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None, "a Python file has a spec"
    assert spec.loader is not None, "and a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # where TFDS looks for the class's file
    try:
        with tfds.core.registered.skip_registration():
            spec.loader.exec_module(module)
    finally:
        del sys.modules[path.stem]
    return module


def _digest_there(target: Path) -> str | None:
    try:
        return json.loads((target / "metadata.json").read_text("utf-8")).get("digest")
    except (OSError, ValueError):
        return None
