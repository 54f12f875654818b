"""A manifest that is damaged says so by its lines, or is read; what is read can be written again."""

import json
import random
from pathlib import Path

import pytest

from emojax.data.clips import ManifestError, check_manifest, read_manifest, write_manifest
from support.mutations import mutated, refusals

RECORD = {
    "id": "a1", "audio": "a.wav", "transcript": "Go away.", "captions": ["an angry voice", "loud 😀"],
    "emotion": "angry", "speaker": "s03", "split": "train", "language": "en", "seconds": 2.4,
}  # fmt: skip


def manifest(folder: Path) -> Path:
    (folder / "a.wav").write_bytes(b"not looked into")
    path = folder / "manifest.jsonl"
    records = [RECORD | {"id": f"a{n}"} for n in range(3)]
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


def other_line(data: bytes, r: random.Random) -> bytes:
    lines = data.splitlines()
    lines[1] = mutated(lines[1], r)
    return b"\n".join(lines)


@pytest.mark.parametrize("count", [300, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_mutated_manifest_is_read_or_its_lines_are_named(count: int, tmp_path: Path) -> None:
    path, again = manifest(tmp_path), tmp_path / "again.jsonl"
    again.touch()

    def read() -> None:
        write_manifest(again, read_manifest(path))

    for mutate in (other_line, lambda data, r: mutated(data.splitlines()[0], r)):
        found = refusals(path, read, count // 2, mutate=mutate)
        assert len(found) > count // 8
        assert all(isinstance(e, ManifestError) for e in found)
        assert max(len(str(e)) for e in found) < 20_000


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('{"id": "a", "transcript": "so sad \\ud83d"}', "half a character ('\\ud83d'), as of an emoji that was cut"),
        ('{"id": "a", "transcript": "x", "captions": ["\\u200b\\u0301"]}', "a caption of characters that show nothing"),
        ('{"id": "a", "transcript": "x", "caption": "\\ufe0f"}', "a caption of characters that show nothing"),
        (f'{{"id": "a", "transcript": "x", "seconds": {"9" * 400}}}', '"seconds" must be a number above 0, below'),
        (f'{{"id": "a", "transcript": "x", "seconds": {"9" * 5000}}}', "Exceeds the limit"),
        ('{"id": "a", "transcript": "x", "seconds": NaN}', '"seconds" must be a number above 0, got NaN'),
        (f'{{"id": "a", "audio": "{"x" * 300}.wav"}}', '"audio" names no file (File name too long): xxx'),
        ('{"id": "a", "audio": "a\\u0000.wav"}', '"audio" names a file that is not there'),
        ("[" * 100_000, "nested too deep to be read"),
    ],
)
def test_a_fault_has_its_line(line: str, fault: str, tmp_path: Path) -> None:
    path = manifest(tmp_path)
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    found = check_manifest(path)
    assert [one.line for one in found] == [4]
    assert fault in found[0].what
    assert len(found[0].what) < 400


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda text: text.encode("utf-16"), "is UTF-16, wanted UTF-8: iconv"),
        (lambda text: text.encode("utf-16-be"), "is UTF-16, wanted UTF-8: iconv"),
        (lambda text: b"version https://git-lfs.github.com/spec/v1\noid x\nsize 3\n", "a Git LFS pointer"),
    ],
)
def test_a_fault_of_the_whole_file_is_said_once(change, fault: str, tmp_path: Path) -> None:
    path = manifest(tmp_path)
    path.write_bytes(change(path.read_text(encoding="utf-8")))
    (found,) = check_manifest(path)
    assert not found.line
    assert fault in found.what


def test_words_in_any_script_and_pictures_are_captions(tmp_path: Path) -> None:
    path = manifest(tmp_path)
    for caption in ("悲しい", "😭", "été", "12", "!", "हिन्दी", "e\u0301"):
        path.write_text(json.dumps(RECORD | {"captions": [caption]}))
        assert read_manifest(path)[0].captions == (caption,)
