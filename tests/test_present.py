"""Files are found as by a look at each, however often their folder is asked."""

import os
from pathlib import Path

import pytest

from emojax.data import present
from emojax.data.present import Files


@pytest.mark.parametrize("often", [1, 3, 50])
def test_a_listed_folder_says_what_a_look_at_each_file_says(
    often: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(present, "_OFTEN", often)
    (tmp_path / "in" / "folder.wav").mkdir(parents=True)
    (tmp_path / "in" / "a.wav").touch()
    (tmp_path / "b.wav").touch()
    (tmp_path / "in" / "link.wav").symlink_to(tmp_path / "b.wav")
    (tmp_path / "in" / "gone.wav").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "in" / "pipe.wav")
    names = ["a.wav", "folder.wav", "link.wav", "gone.wav", "pipe.wav", "none.wav", "../b.wav", "./a.wav", "", "."]
    paths = [f"in/{name}" for name in names] + ["b.wav", "no/a.wav", "b.wav/a.wav", f"{tmp_path}/in/a.wav", "/", "a\0"]
    files = Files(str(tmp_path))
    for path in paths * 3:
        found, there = files.find(path)
        assert found == Path(os.path.join(tmp_path, path))
        assert there == os.path.isfile(os.path.join(tmp_path, path)), path


def test_a_name_that_came_later_or_is_spelled_otherwise_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(present, "_OFTEN", 1)
    files = Files(str(tmp_path))
    assert not files.find("a.wav")[1]
    (tmp_path / "a.wav").touch()
    assert files.find("a.wav")[1]


def test_a_folder_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(200):
        (tmp_path / f"{n}.wav").touch()
    looked: list[str] = []
    monkeypatch.setattr(present.os.path, "isfile", lambda path: looked.append(path) or True)
    files = Files(str(tmp_path))
    assert all(files.find(f"{n}.wav")[1] for n in range(200))
    assert len(looked) < present._OFTEN
