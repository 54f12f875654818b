"""The page of a run says what its files say, to the digit, and nothing that stands in them runs."""

import base64
import dataclasses
import io
import json
import math
import re
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from emojax import cli
from emojax.errors import RunError
from emojax.evaluation.by_clip import FILE, read_scores
from emojax.evaluation.report import COLUMNS
from emojax.report import run_page, side_by_side
from emojax.report.runs import read_run
from support.made_run import captions, clips, finite, metrics, write_run, write_stage
from support.media_files import SECONDS, write_av
from support.pages import Node, table, tree

KNOWN = clips(60)
SETS = {
    "constant": captions(KNOWN, 0.0, 1),
    "sft": captions(KNOWN, 0.6, 2),
    "grpo": captions(KNOWN, 0.7, 3),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("pages") / "run", KNOWN, SETS)


@pytest.fixture(scope="module")
def page(run: Path) -> Node:
    return tree(run_page.write(run).read_text("utf-8"))


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def figures(node: Node) -> list[Node]:
    return [figure for figure in node.all("figure") if any(figure.all("polyline"))]


def section(page: Node, title: str) -> Node:
    return next(one for one in page.all("section") if one.one("h2", "").text == title)


@pytest.mark.parametrize(
    ("stage", "title"), [("sft", "Learning curves: Cold start"), ("grpo", "Learning curves: Emo-GRPO")]
)
def test_the_numbers_of_every_curve_are_those_of_the_log(run: Path, page: Node, stage: str, title: str) -> None:
    """In the tables digit by digit, every metric once; in the pictures to the pixel. Of 230 steps 200 are shown."""
    told, seen = lines(run / stage / "metrics.jsonl"), []
    for figure in figures(section(page, title)):
        head, rows = table(figure)
        svg = next(figure.all("svg"))
        (left, right), (low, high) = ([float(x) for x in (svg.at[name] or "").split()] for name in ("data-x", "data-y"))
        log = "gradient" in figure.text
        for n, name in enumerate(head[1:], 1):
            shown = {int(row[0]): float(row[n]) for row in rows if row[n]}
            metric = next(m for m in told[4] if {line["step"]: line.get(m) for line in told}.items() >= shown.items())
            seen.append(metric)
            there = [line["step"] for line in told if finite(line.get(metric))]
            assert len(shown) == min(len(there), 200)
            assert {min(shown), max(shown)} == {there[0], there[-1]}
            way = next(line for line in figure.all("polyline") if line.at["data-name"] == name).at["points"] or ""
            drawn = np.array([[float(x) for x in place.split(",")] for place in way.split()])
            steps = left + (drawn[:, 0] - 50) / (480 - 50 - 118) * (right - left)
            ys = low + (198 - drawn[:, 1]) / (198 - 12) * (high - low)
            wanted = np.array(list(shown.values()))
            np.testing.assert_allclose(steps, list(shown), atol=(right - left) / 300)
            np.testing.assert_allclose(ys, np.log10(wanted) if log else wanted, atol=(high - low) / 180)
    assert sorted(seen) == sorted(name for name in told[4] if name != "step"), "each of them, once"


def test_the_table_is_that_of_the_report_with_intervals_of_its_clips(run: Path, page: Node) -> None:
    report, found = json.loads((run / "report.json").read_text()), read_scores(run)
    (scores,) = [one for one in section(page, "Scores").all("table") if "BLEU" in one.text][:1]
    head, *rows = [[cell.text for cell in row.all() if cell.name in ("th", "td")] for row in scores.all("tr")]
    assert [row[0] for row in rows] == list(SETS)
    for row in rows:
        for key, cell in zip(COLUMNS, row[1:], strict=True):
            value, digits = report[row[0]][key], COLUMNS[key][1]
            assert cell.startswith("–" if value is None else f"{value:.{digits}f}")
            each = [one.said[row[0]].scores.get(key, math.nan) for one in found]
            if key in found[0].said[row[0]].scores:
                assert np.nanmean(each) == pytest.approx(value, rel=1e-6), "what a row is the mean of"
                assert " to " in cell
    assert "BLEU-4" in head
    assert "Intervals over 4 speakers" in section(page, "Scores").text


def test_named_emotions_are_counted_against_labels(run: Path, page: Node) -> None:
    head, rows = table(section(page, "Named and labelled emotion"))
    found = read_scores(run)
    for label, *cells in rows:
        for named, cell in zip(head[1:], cells, strict=True):
            count = sum(one.clip.emotion == label and one.said["grpo"].named == named for one in found)
            assert (cell.split(" ")[0] or "0") == str(count)
    pairs = [(one.clip.emotion, one.said["grpo"].named) for one in found]
    assert sorted(pairs) != sorted((named, label) for label, named in pairs), (
        "else rows and columns could change places"
    )


def test_media_named_from_where_the_command_ran_are_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    known = [dataclasses.replace(KNOWN[0], audio=Path("media/a.wav")), *KNOWN[1:]]
    write_run(Path("run"), known, SETS)
    assert read_scores(Path("run"))[0].clip.audio == Path("media/a.wav")


def test_the_plane_holds_every_caption_and_what_it_is_about(run: Path, page: Node) -> None:
    plane = section(page, "Emotion plane")
    titles = [title.text for title in plane.all("title")]
    assert len(titles) == len(KNOWN)
    for one in read_scores(run):
        said = one.said["grpo"]
        wanted = f"{said.caption}\nreference: {one.clip.captions[0]}\nreward {said.scores['reward']:.3f}, {one.clip.id}"
        assert any(title.startswith(wanted) for title in titles)
    assert sum("wrong" in (mark.at.get("class") or "") for mark in plane.all("path")) == sum(
        one.said["grpo"].named != one.clip.emotion for one in read_scores(run)
    )


def test_slices_of_streams_that_agree_and_conflict(page: Node) -> None:
    found = next(one for one in section(page, "By group").all("table") if one.text.startswith("Streams"))
    counts = {row.one("th", "").text: next(row.all("td")).text for row in list(found.all("tr"))[1:]}
    assert counts == {"sound alone tells it": "40", "sound and film agree": "20"}


HOSTILE = "</script><script>alert(1)</script><img src=x onerror='alert(2)'>\"'&\x00\ud83d<!--"


def test_what_strangers_wrote_is_shown_and_does_nothing(tmp_path: Path) -> None:
    """In ids, captions, references, transcripts, names of files, metrics, attributes, commands and paths."""
    text = HOSTILE.replace("\ud83d", "")
    known = [
        dataclasses.replace(clip, id=f"{text}{n}", transcript=text, captions=(f"{text} sad",), speaker=f"{text}{n % 3}")
        for n, clip in enumerate(clips(8))
    ]
    known = [dataclasses.replace(c, audio=tmp_path / "<b>'\".wav", attributes={text: text}) for c in known]
    run = write_run(tmp_path / "<i>'\"&", known, {"grpo": {clip.id: text + " sad" for clip in known}})
    sample = {"step": 3, "captions": [{"id": HOSTILE, "caption": HOSTILE, "reward": HOSTILE}, HOSTILE]}
    (run / "grpo" / "samples.jsonl").write_text(json.dumps(sample))
    log = run / "grpo" / "metrics.jsonl"
    log.write_text(json.dumps({"step": 1, text: 1.5, "reward": HOSTILE}) + "\n" + log.read_text())
    about = {"stage": "grpo", "sessions": [{"command": HOSTILE, HOSTILE: HOSTILE, "versions": {HOSTILE: HOSTILE}}, 3]}
    (run / "grpo" / "run.json").write_text(json.dumps(about).replace("\\ud83d", ""))
    pages = [run_page.write(run).read_text("utf-8"), side_by_side.page_of([run, run])]
    for page in map(tree, pages):
        assert not [node.name for node in page.all() if node.name in ("script", "img", "b", "i", "link", "iframe")]
        assert not [name for node in page.all() for name in node.at if name.startswith("on")]
        assert all((node.at["href"] or "").startswith(("#", "file:///")) for node in page.all("a"))
        (policy,) = [node.at["content"] or "" for node in page.all("meta") if "http-equiv" in node.at]
        assert policy.startswith("default-src 'none'")
    shown = HOSTILE.replace("\x00", "\ufffd").replace("\ud83d", "")
    assert pages[0].count("&lt;script&gt;") > 30
    cards = [dd.text for dd in tree(pages[0]).all("dd")]
    assert shown in cards, "as it was written, but for what no page may hold"


def test_every_picture_is_told_in_words_and_every_curve_in_a_table(page: Node) -> None:
    pictures = list(page.all("svg"))
    assert len(pictures) > 12
    assert all(picture.at["role"] == "img" and len(picture.at["aria-label"] or "") > 20 for picture in pictures)
    assert all(list(figure.all("table")) for figure in figures(page))
    for figure in figures(page):
        kinds = [(line.at["class"] or "").split()[1:] for line in figure.all("polyline")]
        assert {(kind[0][0], kind[-1][0]) for kind in kinds} == {("c", "d")}
        assert len({kind[-1] for kind in kinds}) == len(kinds), "told apart by dashes as well as by colour"


def test_a_run_that_goes_on_has_a_page_of_what_there_is(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", KNOWN, {})
    whole = (run / "grpo" / "metrics.jsonl").read_text()
    (run / "grpo" / "metrics.jsonl").write_text(whole[: len(whole) * 2 // 3] + '{"step": 9, "rew')
    (run / "sft" / "metrics.jsonl").unlink()
    text = run_page.write(run).read_text("utf-8")
    last = json.loads(whole[: len(whole) * 2 // 3].splitlines()[-2])["step"]
    assert f"Cold start is at step 0 of 230; Emo-GRPO is at step {last} of 12" in text
    assert next(tree(text).all("h2")).text == "Learning curves: Emo-GRPO"
    write_stage(tmp_path / "alone", "sft", metrics(["loss"], 1, 0))
    assert "1 of" not in run_page.write(tmp_path / "alone").read_text("utf-8")


def test_media_of_the_clips_shown_are_played_or_named(tmp_path: Path) -> None:
    """Sound and film in one small file; what is broken, gone or long is a link or a word."""
    write_av(tmp_path / "film.mkv", video="mpeg4", audio="flac")
    write_av(tmp_path / "voice.flac", audio="flac")
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    film, voice, broken, gone = (tmp_path / name for name in ("film.mkv", "voice.flac", "broken.wav", "gone.wav"))
    media = [{"audio": film, "video": film}, {"audio": voice}, {"audio": broken}, {"audio": gone}, {"video": film}]
    known = [dataclasses.replace(c, seconds=SECONDS, **m) for c, m in zip(clips(5), media, strict=True)]
    known.append(dataclasses.replace(clips(6)[5], audio=voice, seconds=60.0))
    run = write_run(tmp_path / "run", known, {"grpo": {clip.id: "A sad woman" for clip in known}})
    page = tree(run_page.write(run).read_text("utf-8"))
    cards = {card.one("h3", "").text: card for card in page.all("article")}
    for name, kinds in {"clip-0": "video audio", "clip-1": "audio", "clip-4": "video"}.items():
        player = next(node for node in cards[name].all() if node.name in ("video", "audio"))
        assert player.name == ("video" if "video" in kinds else "audio")
        with av.open(io.BytesIO(base64.b64decode((player.at["src"] or "").partition(",")[2]))) as file:
            assert {stream.type for stream in file.streams} == set(kinds.split())
            assert float(file.duration or 0) / 1e6 == pytest.approx(SECONDS, abs=0.15)
            if "video" in kinds:
                levels = [frame.to_ndarray(format="gray").mean() for frame in file.decode(video=0)]
                assert len(levels) == 15
                assert levels[0] < levels[7] < levels[14], "its frames, in their order"
    assert [a.text for card in ("clip-2", "clip-5") for a in cards[card].all("a")] == ["broken.wav", "voice.flac"]
    assert "gone.wav is not there" in cards["clip-3"].text


def test_scores_are_read_as_they_were_written_or_named(run: Path, tmp_path: Path) -> None:
    one = read_scores(run)[7]
    assert one.clip == KNOWN[7]
    assert one.said["grpo"].caption == SETS["grpo"]["clip-7"]
    assert one.said["grpo"].wrong == (() if one.said["grpo"].named == KNOWN[7].emotion else ("emotion",))
    for line in (b"[]", b"{}", b'{"clip": 1', b'{"clip": {"id": "a"}, "said": 1, "told": {}, "place": []}'):
        (tmp_path / FILE).write_bytes(line)
        with pytest.raises(RunError, match=r"scores\.jsonl: line 1 is no clip's scores .* evaluate again"):
            read_scores(tmp_path)


def test_several_runs_side_by_side(tmp_path: Path) -> None:
    """A planted difference lies beside 0, noise does not; what is set otherwise is named; one goes on."""
    runs = [
        write_run(tmp_path / "a" / "run", KNOWN, {"grpo": captions(KNOWN, 0.6, 5)}),
        write_run(tmp_path / "b" / "run", KNOWN, {"grpo": captions(KNOWN, 0.6, 6)}, seed=1),
        write_run(tmp_path / "c" / "run", KNOWN[:50], {"grpo": captions(KNOWN, 1.0, 7)}),
        write_run(tmp_path / "d" / "run", KNOWN, {}),
    ]
    page = tree(side_by_side.page_of(runs))
    _, rows = table(section(page, "Differences"))
    verdicts = {(row[0], row[1]): row[-1] for row in rows}
    assert verdicts["b/run", "reward"] == "no more than noise"
    assert verdicts["c/run", "reward"] == "higher"
    found = [side_by_side.difference(read_run(runs[0]), read_run(runs[2]), "reward")]
    here, there = ({one.clip.id: one.said["grpo"].scores["reward"] for one in read_scores(r)} for r in runs[0:3:2])
    assert found[0] is not None
    assert found[0][0] == pytest.approx(np.mean([there[n] - here[n] for n in there]))
    _, settings = table(section(page, "Configuration that differs"))
    assert settings == [["seed", "0", "1", "0", "0"]]
    chart = next(f for f in figures(page) if f.one("figcaption", "").text == "reward")
    head, numbers = table(chart)
    assert head == ["step", "a/run", "b/run", "c/run", "d/run"]
    for n, run in enumerate(runs, 1):
        told = {line["step"]: line["reward"] for line in lines(run / "grpo" / "metrics.jsonl") if line["reward"]}
        assert {int(row[0]): float(row[n]) for row in numbers if row[n]} == told
    assert "d/run: Cold start is at step 230 of 230; Emo-GRPO is at step 12 of 12" in page.text
    config = runs[2] / "config.json"
    config.write_text(config.read_text().replace('"sentence', '"sentence*2'))
    text = side_by_side.page_of(runs)
    verdicts = [(row[0], row[1]) for row in table(section(tree(text), "Differences"))[1]]
    assert ("b/run", "reward") in verdicts
    assert ("c/run", "reward") not in verdicts, "of another reward"
    assert "c/run was scored by another reward than a/run" in text


def test_the_command(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("emojax.parallel.hosts.end", sys.exit)

    def ended(*words: str | Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["emojax", "report", *map(str, words)])
        try:
            cli.main()
        except SystemExit as e:
            return int(e.code or 0), capsys.readouterr().err
        return 0, capsys.readouterr().err

    assert ended(run) == (0, f"{run / 'report.html'}\n")
    out = tmp_path / "several.html"
    assert ended(run, run, "--out", out)[0] == 0
    assert ended(run, run, "--out", out)[0] == 2
    assert ended(run, "--out", out, "--overwrite")[0] == 0
    for words, why in {
        (): "directory of a run",
        (run, run): "name a file by --out",
        (tmp_path,): "holds no run",
    }.items():
        code, said = ended(*words)
        assert (code, said.count("\n"), why in said) == (2, 1, True), said


def test_no_page_is_fetched_from_anywhere(run: Path, page: Node) -> None:
    text = (run / "report.html").read_text("utf-8")
    assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//""", text)
    assert all(name not in text for name in ("<script", "@import", "<link"))
