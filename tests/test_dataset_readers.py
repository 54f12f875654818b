"""The laws of published datasets: what each reader must know of its dataset, faults included."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from emojax.data.clips import Clip
from emojax.datasets.catalog import named
from emojax.datasets.dataset import Options
from emojax.datasets.importing import import_dataset, read_dataset
from emojax.datasets.mer2025 import openset
from emojax.datasets.report import Report
from emojax.datasets.tree import DatasetError, walk
from support.dataset_trees import TREES, lay, media
from support.media_files import write_av

Read = Callable[..., tuple[dict[str, Clip], Report]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Clips by id, and the report, of a dataset's small copy."""

    def found(name: str, root: Path | None = None, **options: object) -> tuple[dict[str, Clip], Report]:
        root = root or TREES[name](tmp_path)
        clips, report = read_dataset(named(name), walk(root), replace(Options(), **options))
        return {clip.id: clip for clip in clips}, report

    return found


def test_meld_has_three_clips_of_one_name_and_reads_both_of_its_encodings(read: Read) -> None:
    clips, report = read("meld")
    assert set(clips) == {"train_dia0_utt0", "dev_dia0_utt0", "test_dia0_utt0"}
    assert report.missing == ["dev_dia110_utt7"]
    assert set(report.broken) == {"train_dia125_utt3"}
    assert clips["train_dia0_utt0"].transcript == clips["dev_dia0_utt0"].transcript == "you’re, well"
    folders = [clip.video.parent.name for clip in clips.values() if isinstance(clip.video, Path)]
    assert folders == ["train_splits", "dev_splits_complete", "output_repeated_splits_test"]
    assert [clip.split for clip in clips.values()] == ["train", "validation", "test"]
    assert [clip.emotion for clip in clips.values()] == ["happy", "angry", "surprised"]
    assert [Path(path).name for path in report.unlisted] == ["dia66_utt9.mp4", "final_videos_testdia0_utt0.mp4"]
    assert any("1 speakers are in more than one split: Ann (train, validation, test)" in note for note in report.notes)
    again, _ = read("meld", also=("final-videos",))
    assert Path(again["test_dia0_utt0"].file).name == "final_videos_testdia0_utt0.mp4"


def test_iemocap_knows_who_speaks_and_reads_labels_alone(read: Read) -> None:
    clips, report = read("iemocap", fold=2)
    assert set(clips) == {f"Ses0{s}F_impro01_{who}" for s in (1, 2) for who in ("F000", "M000")}
    woman, man = clips["Ses01F_impro01_F000"], clips["Ses01F_impro01_M000"]
    assert (woman.speaker, man.speaker) == ("Ses01F", "Ses01M")
    assert (woman.emotion, woman.labels) == ("happy", ("happy", "neutral", "happy"))
    assert (woman.valence, woman.arousal, woman.dominance) == (2.5, 3.5, 1.5)
    assert (woman.transcript, man.transcript) == ("Excuse me.", None)
    assert (man.emotion, man.labels, man.extra) == (None, (), {"label": "xxx"})
    assert report.unmapped == {"xxx": 2}
    split = {side: {c.speaker for c in clips.values() if c.split == side} for side in ("train", "test")}
    assert split == {"train": {"Ses01F", "Ses01M"}, "test": {"Ses02F", "Ses02M"}}
    assert set(read("iemocap", classes="4")[0]) == {f"Ses0{s}F_impro01_F000" for s in (1, 2)}
    raw = read("iemocap", labels="raw")[0]["Ses01F_impro01_F000"]
    assert (raw.emotion, raw.labels) == ("exc", ("Excited", "Neutral", "Happiness"))
    part = read("iemocap", also=("video",))[0]["Ses01F_impro01_F000"]
    assert (part.file.name, part.start, part.end) == ("Ses01F_impro01.avi", 6.2901, 8.2357)


def test_mer_reads_three_spellings_nested_folders_and_invents_no_neutral(read: Read, tmp_path: Path) -> None:
    assert openset("['glad', 'calm']") == openset("[glad, calm]") == openset("glad,calm") == ("glad", "calm")
    assert openset("") == openset("[]") == ()
    clips, report = read("mer2025")
    assert set(clips) == {"sample_2", "sample_3"}
    assert report.uncaptioned == 2  # of the first track, whose clips have labels alone
    assert clips["sample_2"].extra == {"openset": ["glad", "calm"]}
    assert clips["sample_2"].emotion is None
    assert (clips["sample_2"].transcript, clips["sample_3"].transcript) == ("你好", None)
    assert (clips["sample_3"].captions, clips["sample_3"].split) == (("A person's words.",), "validation")
    assert "warning: track1_train_disdim.csv: 2 listed, 7,369 officially" in report.lines()
    kept, report = read("mer2025", keep_uncaptioned=True)
    assert (kept["sample_1"].emotion, report.unmapped) == ("happy", {"worried": 1})
    assert kept["sample_4"].extra == {"label": "worried"}


def test_a_film_without_pictures_is_sound_alone(read: Read, tmp_path: Path) -> None:
    """MERTools issue 8: nearly all of `samplenew3_` are such."""
    lay(tmp_path, {"track1_train.csv": "name,discrete\nsamplenew3_1,happy\nsamplenew3_2,sad\n", "video/x": b""})
    write_av(tmp_path / "video/samplenew3_1.mp4", audio="aac")
    write_av(tmp_path / "video/samplenew3_2.mp4", "mpeg4", "aac")
    clips, _ = read("mer2025", tmp_path, keep_uncaptioned=True)
    assert [clip.video is not None for clip in clips.values()] == [False, True]
    assert all(clip.audio is not None for clip in clips.values())


def test_mer2023_keeps_its_noisy_and_unlabelled_tests_out_of_train(read: Read) -> None:
    clips, _ = read("mer2023")
    assert {clip.split for clip in clips.values()} == {"train", "test"}
    assert (clips["sample_00000002"].emotion, clips["sample_00000002"].valence) == (None, None)
    clips, _ = read("mer2023", also=("test2", "test3"))
    assert [clip.split for clip in clips.values()] == ["train", "train", "test", "test2", "test3"]
    assert (clips["sample_00000005"].valence, clips["sample_00000001"].transcript) == (None, "你好")


def test_a_pickle_of_labels_is_refused(tmp_path: Path) -> None:
    lay(tmp_path, {"label-6way.npz": b"PK"} | media("video/sample_00000001.mp4"))
    with pytest.raises(DatasetError, match=r"label-6way.npz is a pickle, which is not read"):
        import_dataset(named("mer2023"), tmp_path, tmp_path / "m.jsonl")


def test_emer_is_a_test_in_either_language(read: Read) -> None:
    clips, _ = read("emer")
    assert list(clips) == ["sample_00000000"]
    assert clips["sample_00000000"].captions == ("He is grave.",)
    clips, _ = read("emer", also=("v1",), language="zh")
    assert clips["sample_00000000"].captions == ("他很严肃。", "他吼了。")
    assert clips["sample_00000000"].captions_in["en"] == ("He is grave.", "He roared.")
    assert clips["sample_00000000"].transcript == "不。"
    assert {clip.split for clip in clips.values()} == {"test"}


def test_crema_d_names_pointers_and_has_no_label_for_a_tie(read: Read) -> None:
    clips, report = read("crema-d", split="tfds")
    assert [path.name for path in report.pointers] == ["1010_MTI_SAD_XX.wav"]
    assert any(line.startswith("Git LFS pointers, no files: run `git lfs pull` (1)") for line in report.lines())
    assert report.missing == ["1010_MTI_SAD_XX"]
    assert set(report.broken) == {"1076_MTI_SAD_XX"}
    assert {name: clip.split for name, clip in clips.items()} == {
        "1001_IEO_ANG_HI": "train",
        "1015_TIE_NEU_XX": "validation",
        "1064_TIE_SAD_XX": "train",
    }
    angry = clips["1001_IEO_ANG_HI"]
    assert (angry.emotion, angry.transcript, angry.attributes) == ("angry", "It's eleven o'clock.", {"gender": "man"})
    assert Path(angry.file).suffix == ".wav"
    assert clips["1064_TIE_SAD_XX"].video is None  # another take than its sound
    clips, _ = read("crema-d", truth="perceived")
    assert [clips[name].emotion for name in ("1001_IEO_ANG_HI", "1015_TIE_NEU_XX")] == ["angry", None]
    assert clips["1001_IEO_ANG_HI"].soft_labels == {"angry": 6, "disgusted": 1, "neutral": 3}


def test_three_files_of_a_performance_are_one_clip(read: Read) -> None:
    clips, report = read("ravdess")
    assert set(clips) == {"01-05-02-01-01-12", "01-02-01-02-01-12", "01-01-01-01-01-01"}
    assert Path(clips["01-05-02-01-01-12"].file).name == "01-01-05-02-01-01-12.mp4"
    apart = clips["01-02-01-02-01-12"]
    assert [Path(str(path)).name[:2] for path in (apart.audio, apart.video)] == ["03", "02"]
    assert (apart.emotion, apart.extra) == (None, {"label": "calm"})
    assert (apart.transcript, apart.attributes) == ("Dogs are sitting by the door", {"gender": "woman"})
    (double,) = report.doubled
    assert double.endswith("/audio_speech_actors_01-24/Actor_01/03-01-01-01-01-01-01.wav")
    assert len(read("ravdess", also=("song",))[0]) == 4
    folds = [{c.speaker for c in read("ravdess", fold=k)[0].values() if c.split == "test"} for k in (1, 3)]
    assert folds == [{"Actor_01"}, {"Actor_12"}]


def test_esd_reads_four_encodings_and_has_one_split_in_folders_or_flat(read: Read, tmp_path: Path) -> None:
    clips, _ = read("esd")
    told = {name: (clip.transcript, clip.emotion, clip.split, clip.language) for name, clip in clips.items()}
    assert told == {
        "0001_000001": ("你好。", "neutral", "validation", "zh"),
        "0001_000351": ("走开。", "angry", "validation", "zh"),
        "0002_000370": ("走开。", "angry", "validation", "zh"),
        "0003_001401": ("真的？", "surprised", "validation", "zh"),
        "0011_000021": ("It's him.", "neutral", "test", "en"),
        "0011_001400": (None, "sad", "train", "en"),
    }
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in (tmp_path / "Emotion Speech Dataset").rglob("*.*"):
        shutil.copy(path, flat / path.name)
    again, _ = read("esd", flat)
    assert {name: (c.transcript, c.emotion, c.split, c.language) for name, c in again.items()} == told


def test_emov_db_has_two_clips_of_one_number(read: Read) -> None:
    clips, _ = read("emov-db")
    assert set(clips) == {
        "bea_amused_amused_1-28_0007",
        "bea_amused_amused_29-56_0007",
        "sam_sleepy_sleepiness_1-28_0002",
    }
    assert [clip.transcript for clip in clips.values()] == ["Gad.", "Gad.", None]
    assert {clip.speaker for clip in clips.values()} == {"bea", "sam"}


def test_dfew_counts_its_labels_from_one_and_finds_films_by_number(read: Read, tmp_path: Path) -> None:
    clips, report = read("dfew")
    assert {name: clip.emotion for name, clip in clips.items()} == {
        "02522": "happy",
        "00007": "disgusted",
        "16001": "neutral",
    }
    assert Path(clips["02522"].file).name == "02522.mp4"
    assert [Path(path).name for path in report.unlisted] == ["00008.mp4"]
    lay(tmp_path, {"EmoLabel_DataSplit/test(single-labeled)/set_1.csv": "video_name,label\n7,0\n"})
    with pytest.raises(DatasetError, match=r"set_1.csv: label '0', wanted 1 to 7"):
        read("dfew", tmp_path)


def test_mafw_is_in_gb18030_and_no_neutral_clip_without_caption_is_in_train(read: Read) -> None:
    clips, report = read("mafw")
    assert {name: clip.split for name, clip in clips.items()} == {"00002": "train", "00003": "train", "00004": "test"}
    assert report.uncaptioned == 1
    assert clips["00002"].captions_in == {"zh": ("他很愤怒。",), "en": ("He is angry.",)}
    assert (clips["00002"].captions, clips["00002"].language) == (("He is angry.",), "en")
    assert clips["00003"].extra == {"label": "contempt"}
    assert read("mafw", language="zh")[0]["00002"].captions == ("他很愤怒。",)
    assert read("mafw", keep_uncaptioned=True)[0]["00001"].emotion == "neutral"


def test_text_in_no_known_encoding_is_an_error_and_not_guessed(read: Read, tmp_path: Path) -> None:
    root = TREES["mafw"](tmp_path)
    lay(root, {"Train & Test Set/single/with_caption/set_1/train.txt": b"00002.mp4\tanger\t\xff\xff\xfe\tx\n"})
    with pytest.raises(DatasetError, match=r"train.txt: in none of the encodings utf-8-sig, gb18030"):
        read("mafw", root)


def test_emotiontalk_takes_marks_away_and_minus_ten_is_no_number(read: Read, tmp_path: Path) -> None:
    clips, _ = read("emotiontalk")
    assert {name: clip.split for name, clip in clips.items()} == {
        "G00001_02_13_002": "validation",
        "G00002_01_01_001": "train",
        "G00003_05_13_009": "test",
    }
    clip = clips["G00001_02_13_002"]
    assert clip.transcript == "你好。"
    assert clip.captions == ("第1句。", "第2句。", "第3句。", "第4句。", "第5句。")
    assert (clip.emotion, clip.labels, clip.valence, clip.speaker) == ("happy", ("happy", "neutral"), 1.2, "13")
    sound = read("emotiontalk", truth="audio", also=("spe_cap",))[0]["G00001_02_13_002"]
    assert (sound.emotion, sound.valence, sound.captions[-1]) == ("neutral", None, "年轻女性。")
    for path in (tmp_path / "Emotiontalk").rglob("Multimodal/json/**/*.json"):
        path.write_text(json.dumps({"Continuous label_result": -10, "emotion_result": 3}))
    (coded, *_), _ = read_dataset(named("emotiontalk"), walk(tmp_path))
    assert (coded.emotion, coded.valence, coded.labels) == ("angry", None, ())
    shutil.rmtree(tmp_path / "Emotiontalk" / "Multimodal" / "mp4")
    assert all(clip.video is None and clip.audio for clip in read("emotiontalk", tmp_path)[0].values())


def test_secap_is_a_test_unless_somebody_splits_it(read: Read, tmp_path: Path) -> None:
    clips, _ = read("secap")
    assert [(c.transcript, c.captions, c.split) for c in clips.values()] == [
        ("你好。", ("伤心难过",), "test"),
        ("好。", ("高兴",), "test"),
    ]
    (tmp_path / "splits.txt").write_text("tx_emotion_1 train\n")
    assert [c.split for c in read("secap", split_file=tmp_path / "splits.txt")[0].values()] == ["train", "test"]
