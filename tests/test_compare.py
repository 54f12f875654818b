"""Two records laid side by side: where they part is named, and what cannot be compared is one line."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from emojax import cli
from emojax.errors import RunError
from emojax.reproduce import tell
from emojax.reproduce.compare import Comparison, compare
from emojax.training import record_files, records
from support.made_records import Leaves, leaves, write

STEPS = [leaves(step) for step in range(6)]
NUMBERS = [name for name, x in STEPS[0].items() if x.dtype == np.float32 and name != "samples.reward"]


def record(folder: Path, steps: list[Leaves], **about: object) -> records.Record:
    return records.read(write(folder, steps, **about))  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> records.Record:
    return record(tmp_path_factory.mktemp("first"), STEPS)


def changed(step: int, **by: np.ndarray) -> list[Leaves]:
    """From a step on; the dots of a leaf's name are written `__`."""
    named = {name.replace("__", "."): x for name, x in by.items()}
    return [found | (named if n >= step else {}) for n, found in enumerate(STEPS)]


def said(found: Comparison) -> str:
    return "\n".join(tell.lines(found, ("A", "B")))


def test_a_record_is_the_same_as_itself(first: records.Record) -> None:
    found = compare(first, first)
    assert found.same
    assert said(found).splitlines()[0] == "the same, bit for bit: steps 0 to 5, 9 leaves"
    assert all((gap.distance, gap.ratio, gap.leaves) == (0, 0, 0) for gap in found.gaps)


@pytest.mark.parametrize("trial", range(10))
def test_one_ulp_anywhere_is_named_by_its_step_leaf_and_element(
    trial: int, first: records.Record, tmp_path: Path
) -> None:
    r, name = np.random.default_rng(trial), NUMBERS[trial % len(NUMBERS)]
    step = int(r.integers(not name.startswith("params"), len(STEPS)))  # before any step there is a state alone
    x = np.array(STEPS[step][name])
    element = tuple(int(r.integers(size)) for size in x.shape)
    x[element] = np.nextafter(x[element], np.float32(np.inf))
    found = compare(first, record(tmp_path, [*STEPS[:step], STEPS[step] | {name: x}, *STEPS[step + 1 :]]))
    (one,) = found.first
    assert (one.step, one.leaf, one.ulps) == (step, name, 1)
    assert one.element == element
    assert [gap.leaves for gap in found.gaps] == [int(n == step) for n in range(len(STEPS))]
    where = f"step {step}" if step else "the state before step 1"
    assert f"they differ first {'in' if not step else 'at'} {where}, in {name}" in said(found)


def test_leaves_are_named_in_the_order_in_which_a_step_makes_them(first: records.Record, tmp_path: Path) -> None:
    other = {name: x + np.float32(0.5) for name, x in STEPS[3].items() if name in ("params.w", "opt_state.mu.w")}
    found = compare(first, record(tmp_path, [*STEPS[:3], *(s | other for s in STEPS[3:])]))
    assert [one.leaf for one in found.first] == ["opt_state.mu.w", "params.w"]
    true = np.linalg.norm(other["params.w"] - STEPS[3]["params.w"])
    assert found.first[1].distance == pytest.approx(true, rel=0.6)
    assert found.first[1].relative == pytest.approx(true / np.linalg.norm(STEPS[3]["params.w"]), rel=1)
    moved = np.linalg.norm(STEPS[3]["params.w"] - STEPS[0]["params.w"])
    assert found.gaps[3].ratio == pytest.approx(true / moved, rel=1)


def test_another_token_is_placed_and_rewards_are_those_of_equal_captions(first: records.Record, tmp_path: Path) -> None:
    ids, reward = STEPS[4]["samples.ids"].copy(), STEPS[4]["samples.reward"].copy()
    ids[2, 1, 1] += 1
    reward[2, 1] += 100  # of that caption
    reward[0, 0] += np.float32(0.25)
    found = compare(first, record(tmp_path, changed(4, samples__ids=ids, samples__reward=reward)))
    told = found.gaps[4].tokens
    assert told is not None
    assert (told.captions, told.other, told.where, told.reward) == (8, 1, (2, 1, 1), pytest.approx(0.25))
    assert told.drawn == (ids[2, 1, 1] - 1, ids[2, 1, 1])
    assert "the first other token: step 4, clip 2 of the batch, sample 1, position 1" in said(found)
    assert "they differ first at step 4, in samples.ids[2, 1, 1] alone, by +1" in said(found)


def test_runs_that_read_other_clips_are_told_so_first(first: records.Record, tmp_path: Path) -> None:
    clips = STEPS[3]["batch.clip_id"] + np.uint32(1)
    found = compare(first, record(tmp_path, changed(3, batch__clip_id=clips)))
    assert said(found).splitlines()[1].startswith("they read other clips, or the same otherwise, from step 3 on")
    told = found.gaps[3].tokens
    assert told is not None
    assert told.captions == 6, "three clips are in both batches"


def test_what_is_not_finite_in_one_is_told(first: records.Record, tmp_path: Path) -> None:
    x = STEPS[2]["params.w"].copy()
    x[0, 1] = np.nan
    found = compare(first, record(tmp_path, changed(2, params__w=x)))
    assert "params.w: 0 and 4 of its elements are not finite" in said(found)
    json.loads(json.dumps(tell.as_json(found), allow_nan=False))


def test_facts_that_differ_are_told(first: records.Record, tmp_path: Path) -> None:
    session = {"versions": {"jax": "0.12.0"}, "mesh": {"data": 8}, "frozen": {"encoder": "cd"}}
    found = compare(first, record(tmp_path, STEPS, config={"sft": {"batch": 4}}, session=session))
    told = {fact.name: (fact.a, fact.b) for fact in found.facts}
    assert found.same
    assert told["sft.batch"] == (None, 4)
    assert told["versions.jax"] == ("0.10.2", "0.12.0")
    assert told["mesh.data"] == (1, 8)
    assert any(name.startswith("frozen weights (1 of them, first encoder)") for name in told)


def test_steps_and_leaves_that_one_alone_has_are_left_out(first: records.Record, tmp_path: Path) -> None:
    more = [found | {"metrics.new": np.float32(1), "batch.audio": np.zeros((4, 6), np.float32)} for found in STEPS]
    found = compare(first, record(tmp_path, more[:4]))
    assert found.same
    assert (found.steps, found.leaves) == ([0, 1, 2, 3], 8)
    assert found.only == (["batch.audio"], ["batch.audio", "metrics.new"])
    assert "not compared, of B, for the other has none of that shape: batch.audio, metrics.new" in said(found)


def test_what_cannot_be_compared_is_one_line(first: records.Record, tmp_path: Path) -> None:
    refused = {
        r"is of `grpo`, .* of `sft`: the two stages have no leaf in common": record(tmp_path / "s", STEPS, stage="sft"),
        r"of other models: no weight has the same name and shape": record(
            tmp_path / "m", [{n: x for n, x in s.items() if not n.startswith("params")} for s in STEPS]
        ),
        r"holds no step: its run ended before the first": record(tmp_path / "n", STEPS),
    }
    (tmp_path / "n" / record_files.ROWS).write_bytes(b"")
    for why, other in refused.items():
        other = records.read(other.path)
        with pytest.raises(RunError, match=why) as e:
            compare(first, other)
        assert "\n" not in str(e.value)


def test_a_record_that_is_damaged_cut_or_another_ones_is_one_line(first: records.Record, tmp_path: Path) -> None:
    about, rows = ((first.path / name).read_bytes() for name in (record_files.ABOUT, record_files.ROWS))
    others = (write(tmp_path / "o", [s | {"metrics.new": np.float32(1)} for s in STEPS]) / "record.json").read_bytes()
    size = 4 * first.layout.size
    flipped = bytearray(rows)
    flipped[2 * size + 40] ^= 4
    worse = json.loads(about)
    worse["layout"]["dtypes"] = []
    cases = {
        r"steps\.u32 is damaged in row 3, after step 1,": (about, bytes(flipped)),
        r"steps\.u32 is damaged in row 1, at its beginning, or it is no part of": (others, rows),
        r"steps\.u32 is damaged in row 4, after step 2,": (about, rows[: 3 * size] + rows[size : 2 * size]),
        r"steps\.u32 is not there": (about, None),
        r"record\.json cannot be read: not JSON": (about[:100], rows),
        r"record\.json cannot be read: its format is 9, this emojax reads 1": (
            about.replace(b'"format": 1', b'"format": 9'), rows,
        ),
        r"record\.json cannot be read: it lacks 'stage'": (about.replace(b'"stage"', b'"stagf"'), rows),
        r"record\.json cannot be read: its names, types and shapes are not as many": (json.dumps(worse).encode(), rows),
    }  # fmt: skip
    for why, (one, two) in cases.items():
        shutil.rmtree(tmp_path / "r", ignore_errors=True)
        (tmp_path / "r").mkdir()
        (tmp_path / "r" / record_files.ABOUT).write_bytes(one)
        if two is not None:
            (tmp_path / "r" / record_files.ROWS).write_bytes(two)
        with pytest.raises(RunError, match=why) as e:
            records.read(tmp_path / "r")
        assert "\n" not in str(e.value)
    (tmp_path / "r" / record_files.ABOUT).write_bytes(about)
    (tmp_path / "r" / record_files.ROWS).write_bytes(rows[:-5])
    assert list(records.read(tmp_path / "r").rows) == [1, 2, 3, 4], "a row that was half written is cut"


def ended(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["emojax", "compare", *words])
    try:
        cli.main()
    except SystemExit as e:
        return int(e.code or 0)
    return 0


def test_the_command_ends_with_0_1_or_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a record, of a run, and of a run of both stages."""
    for run in ("one", "two"):
        for stage in ("sft", "grpo"):
            write(tmp_path / run / stage / "record", STEPS[: 4 + (run == "two")], stage=stage)
    other = write(tmp_path / "other" / "record", changed(2, params__w=STEPS[0]["params.w"]))
    assert ended(monkeypatch, str(tmp_path / "one"), str(tmp_path / "two")) == 0
    assert capsys.readouterr().out.count("the same, bit for bit: steps 0 to 3, 9 leaves") == 2
    page = tmp_path / "page.html"
    assert ended(monkeypatch, str(tmp_path / "one/grpo"), str(other), "--page", str(page), "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["grpo"]["first"][0]["leaf"] == "params.w"
    assert all(word in page.read_text() for word in ("<svg", "Distance of the weights", "in params.w"))
    assert "://" not in page.read_text(), "it opens without a network"
    monkeypatch.setattr("emojax.parallel.hosts.end", sys.exit)
    for why, words in {
        "no such directory": (str(tmp_path / "none"), str(other)),
        "is neither a run nor a record": (str(tmp_path), str(other)),
        "no stage in common": (str(tmp_path / "one"), str(other)),
    }.items():
        assert ended(monkeypatch, *words) == 2
        assert why in capsys.readouterr().err
