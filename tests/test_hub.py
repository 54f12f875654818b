"""Where a model is looked for, in which order, and what is said where it is not."""

import json

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from emojax.hub.locate import local, locate, read_json


def model(root, *files):
    """A directory of empty files."""
    for name in ("config.json", *files):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}")
    return root


@pytest.fixture
def hubs(monkeypatch):
    """What is in the cache and on the hub, a directory or None, and the log of calls."""
    there = {"cache": None, "hub": None, "asked": []}

    def snapshot_download(name, *, allow_patterns, local_files_only=False):
        place = "cache" if local_files_only else "hub"
        there["asked"].append((place, name))
        if there[place] is None:
            raise LocalEntryNotFoundError("offline")
        return str(there[place])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return there


def test_a_directory_is_taken_as_it_is_and_nothing_is_asked(tmp_path, hubs):
    assert locate(str(tmp_path)) == local(str(tmp_path)) == tmp_path
    assert not hubs["asked"]


@pytest.mark.parametrize("name", ["./owner/model", "/models/x", "a/b/c", "owner/", "~/model", ".\\model"])
def test_what_can_only_be_a_path_is_never_asked_of_the_hub(hubs, name):
    with pytest.raises(FileNotFoundError, match=r"^decoder '.*': no such directory$"):
        locate(name, wanted="decoder")
    assert local(name) is None
    assert not hubs["asked"]


def test_the_cache_comes_first_if_it_is_whole(tmp_path, hubs):
    cached = hubs["cache"] = model(tmp_path / "cache", "model-1.safetensors")
    assert locate("owner/model") == local("owner/model") == cached
    assert ("hub", "owner/model") not in hubs["asked"]
    assert local("owner/model", needs=("modules.json",)) is None
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (cached / "model.safetensors.index.json").write_text(json.dumps(index))
    assert local("owner/model") is None  # a download that was broken off
    hubs["hub"] = model(tmp_path / "hub", "2_Dense/model.safetensors")
    assert locate("owner/model") == tmp_path / "hub"


def test_a_model_that_is_nowhere_or_not_whole_is_refused_with_the_way_to_get_it(tmp_path, hubs):
    with pytest.raises(FileNotFoundError, match=r"decoder 'owner/model'.*hf download owner/model"):
        locate("owner/model", wanted="decoder")
    assert hubs["asked"] == [("cache", "owner/model"), ("hub", "owner/model")]
    hubs["hub"] = model(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"has no modules.json, model.safetensors\..*pickle.*save_pretrained"):
        locate("owner/model", needs=("config.json", "modules.json"))


def test_json_that_is_absent_or_broken_is_named(tmp_path):
    assert read_json(tmp_path / "a.json", optional=True) == {}
    with pytest.raises(FileNotFoundError, match=r"a\.json: no such file"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(ValueError, match=r"a\.json: not JSON"):
        read_json(tmp_path / "a.json", optional=True)
