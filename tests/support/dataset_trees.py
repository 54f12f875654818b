"""Small copies of published datasets as their authors pack them, faults included: made up, but for the names."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

MEDIA = b"nobody opens it"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"


def lay(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Files with what is in them, by path."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def media(*names: str) -> dict[str, str | bytes]:
    return dict.fromkeys(names, MEDIA)


def emotiontalk(root: Path) -> Path:
    files: dict[str, str | bytes] = {}
    for name, key in (
        ("G00002_01_01_001", "file_name"),
        ("G00001_02_13_002", "file_path"),
        ("G00003_05_13_009", "file_name"),
    ):
        folder = f"{name[:6]}/{name[:9]}/{name[:12]}/{name}"
        captions = {f"caption_{n}": f"第{n}句。" for n in (2, 1, 3, 4, 5)} | {"spe_cap": "年轻女性。"}
        said = {"A1": {"emotion": "happy", "Confidence_degree": "9"}, "A2": {"emotion": "neutral"}}
        sound = {key: f"{folder}.wav", "content": "[over/]你好[laughing]。", "sourceAttr": captions, "data": said}
        both = {key: f"{folder}.mp4", "emotion_result": "happy", "data": said, "Continuous label_result": "1.2"}
        files[f"Audio/json/{folder}.json"] = json.dumps(sound | {"emotion_result": "neutral"})
        files[f"Multimodal/json/{folder}.json"] = json.dumps(both)
        files |= media(f"Audio/wav/{folder}.wav", f"Multimodal/mp4/{folder}.mp4")
    return lay(root / "Emotiontalk", files)


def mer2023(root: Path) -> Path:
    header = "name,discrete,valence\n"
    files = {
        "mer2023train/train-label.csv": header + "sample_00000001,happy,0.5\nsample_00000002,worried,-10\n",
        "test-labels/test1-label.csv": header + "sample_00000003,sad,-1.0\n",
        "test-labels/test2-label.csv": header + "sample_00000004,angry,-2\n",
        "test-labels/test3-label.csv": "name,discrete\nsample_00000005,neutral\n",
        "transcription-engchi-polish.csv": "name,chinese,english\nsample_00000001,你好,Hello\n",
    }
    here = ("mer2023train/train/sample_00000001.avi", "mer2023train/train/sample_00000002.mp4")
    return lay(root, files | media(*here, *(f"test{n - 2}/sample_0000000{n}.mp4" for n in (3, 4, 5))))


def mer2024(root: Path) -> Path:
    files = {"label-disdim.csv": "name,discrete\nsample_00000001,happy\nsamplenew_00000002,\n"}
    files["label-transcription.csv"] = "name,text,english\nsample_00000001,你好,Hello\n"
    return lay(root, files | media("video-labeled/sample_00000001.mp4", "video-labeled/samplenew_00000002.mp4"))


def mer2025(root: Path) -> Path:
    files = {
        "track1_train_disdim.csv": "name,discrete\nsample_1,happy\nsample_4,worried\n",
        "track2_train_mercaptionplus.csv": "name,openset\nsample_2,\"['glad', 'calm']\"\nsample_3,\n",
        "track3_train_mercaptionplus.csv": "name,reason\nsample_2,She is glad.\nsample_3,A machine's words.\n",
        "track2_train_ovmerd.csv": 'name,openset\nsample_3,"[concern, pessimism]"\n',
        "track3_train_ovmerd.csv": "name,reason\nsample_3,A person's words.\n",
        "subtitle_chieng.csv": "name,chinese,english\nsample_2,你好,\nsample_3,,Hello\n",
    }
    return lay(root / "mer2025-dataset", files | media(*(f"video/video/sample_{n}.mp4" for n in (1, 2, 3, 4))))


def emer(root: Path) -> Path:
    files = {
        "EMER/dataset-v2/final-EMER-reason.csv": "name,chinese,english\nsample_00000000,他很严肃。,He is grave.\n",
        "EMER/dataset-v1/gt-eng.csv": "names,emotions,subtitles,reasons\n"
        "sample_00000000,angry,No.,He roared.\nsample_00000648,happy,,She smiled.\n",
        "EMER/dataset-v1/gt-chi.csv": "names,emotions,subtitles,reasons\nsample_00000000,生气,不。,他吼了。\n",
    }
    return lay(root, files | media("mer2023train/train/sample_00000000.avi", "mer2023train/train/sample_00000648.avi"))


def mafw(root: Path) -> Path:
    base = "Train & Test Set/single"
    told = "00002.mp4\tanger\t他很愤怒。\tHe is angry.\n00003.mp4\tcontempt\t她轻视。\tShe scorns.\n"
    files: dict[str, str | bytes] = {
        f"{base}/no_caption/set_1/train.txt": "00001.mp4 neutral\n00002.mp4 anger\n00003.mp4 contempt\n",
        f"{base}/no_caption/set_1/test.txt": "00004.mp4 neutral\n",
        f"{base}/with_caption/set_1/train.txt": (told + "00003.mp4\tcontempt\t她轻视。\tShe scorns.\n").encode(
            "gb18030"
        ),
        f"{base}/with_caption/set_1/test.txt": b"",
    }
    return lay(root / "MAFW", files | media(*(f"data/clips/0000{n}.mp4" for n in (1, 2, 3, 4))))


def secap(root: Path) -> Path:
    captions = {"tx_emotion_1": "伤心难过", "tx_emulate_2": "高兴"}
    files = {
        "dataset/fid2captions.json": json.dumps(captions),
        "dataset/text.txt": "tx_emotion_1 你好。 \ntx_emulate_2\t好。\n",
    }
    return lay(root, files | media("dataset/wav/tx_emotion_1.wav", "dataset/wav/tx_emulate_2.wav"))


def meld(root: Path) -> Path:
    header = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\r\n"

    def row(line: str, speaker: str, emotion: str, dialogue: int, utterance: int) -> str:
        return f'1,"{line}",{speaker},{emotion},x,{dialogue},{utterance},1,1,"00:00:01,000","00:00:02,000"\r\n'

    files: dict[str, str | bytes] = {
        "train_sent_emo.csv": header + row("you’re, well", "Ann", "joy", 0, 0) + row("no", "Bo", "sadness", 125, 3),
        # as the archive has it
        "dev_sent_emo.csv": header + row("you\u0092re, well", "Ann", "anger", 0, 0) + row("hm", "Cy", "fear", 110, 7),
        "test_sent_emo.csv": header + row("oh", "Ann", "surprise", 0, 0),
    }
    files |= media("train_splits/dia0_utt0.mp4", "train_splits/dia125_utt3.mp4", "dev_splits_complete/dia0_utt0.mp4")
    files |= media("dev_splits_complete/dia66_utt9.mp4", "output_repeated_splits_test/._dia0_utt0.mp4")
    files |= media("output_repeated_splits_test/dia0_utt0.mp4")
    return lay(root / "MELD.Raw", files | media("output_repeated_splits_test/final_videos_testdia0_utt0.mp4"))


def iemocap(root: Path) -> Path:
    files: dict[str, str | bytes] = {}
    for session in (1, 2):
        dialogue, folder = f"Ses0{session}F_impro01", f"Session{session}"
        files[f"{folder}/dialog/EmoEvaluation/{dialogue}.txt"] = (
            "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
            f"[6.2901 - 8.2357]\t{dialogue}_F000\texc\t[2.5000, 3.5000, 1.5000]\n"
            "C-E2:\tExcited;\t()\nC-E3:\tNeutral state; Happiness;\t()\nC-F1:\tSadness;\t()\n"
            "A-E3:\tval 3; act 2; dom  2;\t()\n\n"
            f"[10.0100 - 11.3925]\t{dialogue}_M000\txxx\t[2.0000, 2.0000, 2.0000]\nC-E2:\tFrustration;\t()\n"
        )
        files[f"{folder}/dialog/EmoEvaluation/Attribute/{dialogue}_e2.txt"] = (
            "[1.0 - 2.0]\tSes01F_wrong_F000\tneu\t[1, 1, 1]\n"
        )
        files[f"{folder}/dialog/transcriptions/{dialogue}.txt"] = (
            f"{dialogue}_F000 [006.2901-008.2357]: Excuse me. [LAUGHTER]\n"
            f"{dialogue}_FXX0 [009.0000-009.5000]: No label.\nM: no times\n"
        )
        files |= media(*(f"{folder}/sentences/wav/{dialogue}/{dialogue}_{who}.wav" for who in ("F000", "M000")))
        files |= media(
            f"{folder}/sentences/wav/{dialogue}/._{dialogue}_F000.wav", f"{folder}/dialog/avi/DivX/{dialogue}.avi"
        )
    return lay(root / "IEMOCAP_full_release", files)


def crema_d(root: Path) -> Path:
    names = ("1001_IEO_ANG_HI", "1015_TIE_NEU_XX", "1010_MTI_SAD_XX", "1076_MTI_SAD_XX", "1064_TIE_SAD_XX")
    votes = (
        '"","A","D","F","H","N","S","fileName"',
        '"100001",0,0,0,0,9,0,"1001_IEO_ANG_HI"',
        '"300001",6,1,0,0,3,0,"1001_IEO_ANG_HI"',
    )
    files: dict[str, str | bytes] = {
        "SentenceFilenames.csv": '"Stimulus_Number","Filename"\n'
        + "".join(f'{n},"{name}"\n' for n, name in enumerate(names)),
        "VideoDemographics.csv": '"ActorID","Age","Sex"\n1001,51,"Male"\n1010,27,"Female"\n',
        "processedResults/summaryTable.csv": '"","FileName","VoiceVote","FaceVote","MultiModalVote"\n'
        '"1","1001_IEO_ANG_HI","N","A","A"\n"2","1015_TIE_NEU_XX","N","N","F:N"\n',
        "processedResults/tabulatedVotes.csv": "\n".join(votes),
        "AudioWAV/1010_MTI_SAD_XX.wav": POINTER,
    }
    files |= media(*(f"AudioWAV/{name}.wav" for name in names if name[:4] != "1010"))
    return lay(root, files | media(*(f"VideoFlash/{name}.flv" for name in (names[0], *names[3:]))))


def ravdess(root: Path) -> Path:
    take = "01-05-02-01-01-12"
    files = media(*(f"Actor_12/{how}-{take}.{kind}" for how, kind in (("01", "mp4"), ("02", "mp4"), ("03", "wav"))))
    files |= media(
        "Actor_12/02-01-02-01-02-01-12.mp4", "Actor_12/03-01-02-01-02-01-12.wav", "Actor_12/03-02-03-01-01-01-12.wav"
    )
    files |= media("Actor_01/03-01-01-01-01-01-01.wav", "audio_speech_actors_01-24/Actor_01/03-01-01-01-01-01-01.wav")
    return lay(root, files)


def dfew(root: Path) -> Path:
    lists = {"train": "video_name,label\n2522,1\n7,6\n", "test": "video_name,label\n16001,3\n"}
    files: dict[str, str | bytes] = {f"EmoLabel_DataSplit/{s}(single-labeled)/set_1.csv": t for s, t in lists.items()}
    here = ("part_1/02522.mp4", "part_1/00007.mp4", "part_11/16001.mp4", "part_1/00008.mp4")
    return lay(root, files | media(*(f"Clip/original/{name}" for name in here)))


def esd(root: Path) -> Path:
    files: dict[str, str | bytes] = {
        "0001/0001.txt": "0001_000001\t你好。\t中立\n0001_000351 走开。 生气\n".encode("gb2312"),
        "0002/0002.txt": "\ufeff0002_000370\t走开。\t生气\n".encode("utf-16-le"),
        "0003/0003.txt": "0003_001401\t真的？\t惊喜\n".encode("utf-16-le"),  # without a mark
        "0011/0011.txt": "0011_000021\tIt's him.\tNeutral\n",
    }
    here = ("0001/Neutral/evaluation/0001_000001", "0001/Angry/evaluation/0001_000351", "0002/Angry/0002_000370")
    here += ("0003/0003_001401", "0011/Neutral/test/0011_000021", "0011/Sad/train/0011_001400")
    return lay(root / "Emotion Speech Dataset", files | media(*(f"{name}.wav" for name in here)))


def emov_db(root: Path) -> Path:
    here = (
        "bea_Amused/amused_1-28_0007.wav",
        "bea_Amused/amused_29-56_0007.wav",
        "sam/Sleepy/sleepiness_1-28_0002.wav",
    )
    files: dict[str, str | bytes] = {"cmuarctic.data": '( arctic_a0007 "Gad." )\n( arctic_b0002 "Not it." )\n'}
    return lay(root, files | media(*here))


TREES: dict[str, Callable[[Path], Path]] = {
    "emotiontalk": emotiontalk,
    "mer2023": mer2023,
    "mer2024": mer2024,
    "mer2025": mer2025,
    "emer": emer,
    "mafw": mafw,
    "secap": secap,
    "meld": meld,
    "iemocap": iemocap,
    "crema-d": crema_d,
    "ravdess": ravdess,
    "dfew": dfew,
    "esd": esd,
    "emov-db": emov_db,
}
