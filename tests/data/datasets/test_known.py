"""The published data sets, on made-up folders laid out as their downloads are."""

import io
import json
import os
import pickle

import av
import cv2
import numpy as np
import pytest

from avjax.data import clip_sampling, pipeline
from avjax.data.datasets import (
    activitynet,
    audioset,
    dcase2014,
    esc50,
    hmdb51,
    kinetics,
    tfds,
    ucf101,
    vggsound,
)
from avjax.data.source import coverage


def make_files(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")
    return root


def write(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


def seen(source, root):
    """{path: label's name}, in order."""
    return {
        os.path.relpath(r["path"], root): source.classes[r["label"]] if r["label"] >= 0 else None
        for r in source
    }


def test_every_dataset_lists_its_splits_and_refuses_others(tmp_path):
    sets = (activitynet, audioset, dcase2014, esc50, hmdb51, kinetics, ucf101, vggsound)
    for known in sets:
        assert known.SPLITS and all(isinstance(split, str) for split in known.SPLITS)
        rest = () if known in (dcase2014, kinetics, esc50) else (tmp_path,)
        if known is esc50:
            write(tmp_path / "meta", esc50__csv="filename,fold,target,category\n")
        with pytest.raises(ValueError, match="unknown split 'validate': use one of"):
            known.make(tmp_path, "validate", *rest)


HEAD = "label,youtube_id,time_start,time_end,split,is_cc\n"


def test_kinetics_by_its_official_lists(tmp_path):
    root = make_files(
        tmp_path / "clips", "playing cello/-a_000004_000014.mp4", "b_000100_000110.webm",
        "deep/er/c_000000_000010.mp4", "e_000000_000010.mp4",
    )  # fmt: skip
    lists = write(
        tmp_path / "lists",
        train__csv=HEAD + "playing cello,-a,4,14,train,0\nabseiling,b,100,110,train,0\n",
        validate__csv=HEAD + "zumba,c,0,10,validate,0\nzumba,d,0,10,validate,0\n",
        test__csv="youtube_id,time_start,time_end,split\ne,0,10,test\n",
    )
    train = kinetics.make(root, "train", lists)
    assert train.classes == ("abseiling", "playing cello", "zumba")
    assert seen(train, root) == {
        "playing cello/-a_000004_000014.mp4": "playing cello",
        "b_000100_000110.webm": "abseiling",
    }
    val = kinetics.make(root, "val", lists)
    assert val.classes == train.classes and coverage(val) == "1 of 2 found"
    assert seen(kinetics.make(root, "test", lists), root) == {"e_000000_000010.mp4": None}
    assert len(kinetics.make(root, "val", lists / "validate.csv")) == 1
    with pytest.raises(ValueError, match="'x' is no time in seconds"):
        kinetics.make(root, "train", write(tmp_path / "bad", a__csv=HEAD + "a,b,x,1,train,0\n"))


def test_kinetics_by_its_folders(tmp_path):
    root = make_files(
        tmp_path, "train/run/a.mp4", "train/sing/b.mp4", "val/sing/c.mp4", "test/d.mp4"
    )
    assert seen(kinetics.make(root, "train"), root) == {
        "train/run/a.mp4": "run", "train/sing/b.mp4": "sing",
    }  # fmt: skip
    assert seen(kinetics.make(root, "val"), root) == {"val/sing/c.mp4": "sing"}
    assert seen(kinetics.make(root, "test"), root) == {"test/d.mp4": None}
    with pytest.raises(FileNotFoundError, match="train, val or test: set root"):
        kinetics.make(root / "train", "train")


LABELS = 'index,mid,display_name\n0,/m/09x0r,"Speech"\n1,/m/05,"Male speech, man"\n2,/t/dd1,Bark\n'
SEGMENTS = """# Segments csv created Sun Mar  5 10:54:25 2017
# num_ytids=4, num_segs=4, num_unique_labels=3, num_positive_labels=6
# YTID, start_seconds, end_seconds, positive_labels
--a, 30.000, 40.000, "/t/dd1,/m/09x0r"
b, 0.000, 10.000, "/m/05"
c, 21.000, 31.000, "/m/05,/t/dd1"
d, 400.000, 410.000, "/m/09x0r"
"""


@pytest.mark.parametrize(
    "name", ["Y--a.wav", "--a.mp4", "x/--a_30.mkv", "--a_30_40.mp4", "--a_000030.mp4",
             "--a_000030_000040.mp4", "--a_30.000_40.000.flac", "--a_30000_40000.mp4"],
)  # fmt: skip
def test_audioset_accepts_file_name_variants(tmp_path, name):
    root = make_files(tmp_path / "clips", name, "b_0.webm", "--a_31.mp4", "c_30000.mp4")
    lists = write(tmp_path / "lists", eval_segments__csv=SEGMENTS, class_labels_indices__csv=LABELS)
    source = audioset.make(root, "eval", lists)
    assert source.classes == ("Speech", "Male speech, man", "Bark")
    assert seen(source, root) == {name: "Bark", "b_0.webm": "Male speech, man"}
    assert [record["labels"] for record in source] == [(2, 0), (1,)]
    assert coverage(source) == "2 of 4 found"


def test_audioset_whole_videos_give_segments(tmp_path):
    root = make_files(tmp_path / "clips", "--a.mp4", "c_21.mp4", "Yd.mp4")
    lists = write(tmp_path / "lists", eval_segments__csv=SEGMENTS, class_labels_indices__csv=LABELS)
    source = audioset.make(root, "eval", lists, trimmed=False)
    assert [(r["start"], r["end"]) for r in source] == [(30.0, 40.0), (400.0, 410.0)]
    write(lists, eval_segments__csv='a, 0.000, 1.000, "/m/unknown"\n')
    with pytest.raises(ValueError, match="'/m/unknown'.*not in class_labels"):
        audioset.make(root, "eval", lists)


@pytest.mark.parametrize(
    "name",
    ["a_000030.mp4", "t/a_30.wav", "a_000030_000040.mp4", "a_30_40.mp4", "a_30000_40000.mp4"],
)
def test_vggsound(tmp_path, name):
    root = make_files(tmp_path / "clips", name, "b_000001.mp4")
    file = tmp_path / "vggsound.csv"
    file.write_text('a,30,"wind, noise",train\nb,1,"bark ""loud""",test\nc,1,bark,train\n')
    train, test = (vggsound.make(root, split, file) for split in vggsound.SPLITS)
    assert train.classes == test.classes == ("bark", 'bark "loud"', "wind, noise")
    assert seen(train, root) == {name: "wind, noise"} and coverage(train) == "1 of 2 found"
    assert seen(test, root) == {"b_000001.mp4": 'bark "loud"'}


UCF = ("Archery", "Surfing", "HandstandPushups")


def ucf(tmp_path):
    names = {c: c.replace("Hands", "HandS") for c in UCF}
    lines = [f"{c}/v_{names[c]}_g{g:02d}_c01.avi" for c in UCF for g in range(1, 5)]
    return write(
        tmp_path / "ucfTrainTestlist",
        classInd__txt="".join(f"{i} {c}\r\n" for i, c in enumerate(UCF, 1)),
        trainlist01__txt="".join(f"{line} 1\r\n" for line in lines if "_g01" not in line),
        testlist01__txt="".join(f"{line}\r\n" for line in lines if "_g01" in line),
        trainlist02__txt=f"{lines[0]} 1\n",
    )


def test_ucf101(tmp_path):
    lists = ucf(tmp_path)
    root = make_files(
        tmp_path / "clips", "Archery/v_Archery_g01_c01.avi", "v_Archery_g02_c01.mp4",
        "HandstandPushups/v_HandStandPushups_g03_c01.avi", "v_HandstandPushups_g04_c01.avi",
    )  # fmt: skip
    train, test = (ucf101.make(root, split, lists) for split in ucf101.SPLITS)
    assert train.classes == test.classes == UCF
    assert seen(train, root) == {
        "v_Archery_g02_c01.mp4": "Archery",
        "HandstandPushups/v_HandStandPushups_g03_c01.avi": "HandstandPushups",
        "v_HandstandPushups_g04_c01.avi": "HandstandPushups",
    }
    assert train[0]["group"] == "v_Archery_g02" and coverage(train) == "3 of 9 found"
    assert train.name == "ucf101/train split 1"
    assert seen(test, root) == {"Archery/v_Archery_g01_c01.avi": "Archery"}
    assert seen(ucf101.make(root, "train", lists, fold=2), root) == seen(test, root)
    with pytest.raises(ValueError, match="unknown fold 4"):
        ucf101.make(root, "train", lists, fold=4)
    write(lists, trainlist01__txt="Archery/v_Archery_g01_c01.avi 1\nSwimming/v_x_g01_c01.avi 2\n")
    with pytest.raises(ValueError, match="trainlist01.txt: 'Swimming.* is not a class"):
        ucf101.make(root, "train", lists)


def render(path, sounding):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        video = file.add_stream("mpeg4", rate=10, width=32, height=32, pix_fmt="yuv420p")
        audio = file.add_stream("aac", rate=16000) if sounding else None
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")
            file.mux(video.encode(frame))
        file.mux(video.encode())
        if sounding:
            wave = av.AudioFrame.from_ndarray(np.zeros((1, 4000), np.float32), "fltp", "mono")
            wave.sample_rate = 16000
            file.mux([*audio.encode(wave), *audio.encode()])


def test_ucf51_keeps_classes_with_audio(tmp_path, caplog):
    lists, root = ucf(tmp_path), tmp_path / "clips"
    render(root / "v_Archery_g01_c01.mp4", False)
    render(root / "v_Archery_g02_c01.mp4", False)
    render(root / "v_Surfing_g02_c01.mp4", True)
    render(root / "v_Surfing_g03_c01.mp4", False)
    render(root / "v_HandStandPushups_g01_c01.mp4", True)
    render(root / "v_HandStandPushups_g02_c01.mp4", True)
    make_files(root, "v_Surfing_g04_c01.mp4")
    train, test = (ucf101.ucf51(root, split, lists) for split in ucf101.SPLITS)
    assert train.classes == test.classes == ("Surfing", "HandstandPushups")
    assert seen(train, root) == {
        "v_Surfing_g02_c01.mp4": "Surfing",
        "v_HandStandPushups_g02_c01.mp4": "HandstandPushups",
    }
    assert seen(test, root) == {"v_HandStandPushups_g01_c01.mp4": "HandstandPushups"}
    assert train.name == "ucf51/train split 1" and coverage(train) == "2 of 7 found"
    assert "left out of UCF51" in caplog.text and "v_Surfing_g04_c01.mp4" in caplog.text
    quarantine = tmp_path / "bad.csv"
    quarantine.write_text("path,reason\nv_Surfing_g02_c01.mp4,cut\n")
    left = ucf101.ucf51(root, "train", lists, quarantine=quarantine)
    assert left.classes == ("HandstandPushups",) and left.num_quarantined == 1
    mute = tmp_path / "mute"
    for group in (1, 2):
        render(mute / f"v_Archery_g{group:02d}_c01.mp4", False)
    with pytest.raises(ValueError, match="no clip under .* has audio"):
        ucf101.ucf51(mute, "train", lists)


def test_hmdb51(tmp_path):
    names = ("Film_1_climb_f_cm_np1_ba_goo_0", "Film_1_climb_f_cm_np1_ba_goo_1", "B_climb_u_0",
             "Film_1_climb_stairs_f_0")  # fmt: skip
    root = make_files(tmp_path / "clips", *(f"climb/{name}.avi" for name in names[:3]),
               f"climb_stairs/{names[3]}.avi")  # fmt: skip
    lists = write(
        tmp_path / "lists",
        climb_test_split1__txt=f"{names[0]}.avi 1 \n{names[1]}.avi 2 \n{names[2]}.avi 0 \n",
        climb_stairs_test_split1__txt=f"{names[3]}.avi 1 \n",
        climb_test_split2__txt=f"{names[2]}.avi 1 \n",
    )
    train = hmdb51.make(root, "train", lists)
    assert train.classes == ("climb", "climb_stairs")
    assert seen(train, root) == {
        f"climb/{names[0]}.avi": "climb", f"climb_stairs/{names[3]}.avi": "climb_stairs",
    }  # fmt: skip
    assert [record["group"] for record in train] == ["Film_1", "Film_1"]
    assert seen(hmdb51.make(root, "test", lists), root) == {f"climb/{names[1]}.avi": "climb"}
    assert len(hmdb51.make(root, "train", lists, fold=2)) == 1
    write(lists, climb_test_split1__txt=f"{names[0]}.avi 3\n")
    with pytest.raises(ValueError, match="climb_test_split1.txt: .* 0, 1 or 2"):
        hmdb51.make(root, "train", lists)


def test_activitynet_gives_segments(tmp_path):
    root = make_files(tmp_path / "videos", "v_-a.mp4", "b.mkv", "v_t.webm")
    runs = {"segment": [1.5, 20], "label": "Running"}
    known = {
        "-a": {"subset": "training", "annotations": [runs, {"segment": [5, 6.5], "label": "Ax"}, dict(runs, segment=[3, 3])]},
        "b": {"subset": "validation", "annotations": [runs]},
        "c": {"subset": "validation", "annotations": [runs]},
        "t": {"subset": "testing", "annotations": []},
    }  # fmt: skip
    file = tmp_path / "activity_net.v1-3.min.json"
    file.write_text(json.dumps({"version": "VERSION 1.3", "database": known, "taxonomy": []}))
    train = activitynet.make(root, "train", file)
    assert train.classes == ("Ax", "Running")
    assert [(r["start"], r["end"], r["label"], r["group"]) for r in train] == [
        (1.5, 20.0, 1, "-a"), (5.0, 6.5, 0, "-a"),
    ]  # fmt: skip
    val = activitynet.make(root, "val", file)
    assert seen(val, root) == {"b.mkv": "Running"} and coverage(val) == "1 of 2 found"
    (record,) = activitynet.make(root, "test", file)
    assert record["label"] == -1 and "start" not in record


def test_esc50_holds_out_a_fold(tmp_path):
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        for target, name, small in ((0, "dog", True), (2, "pig", False), (10, "rain", True)):
            lines.append(f"{fold}-7-A-{target}.wav,{fold},{target},{name},{small},{fold}7,A")
    root = make_files(tmp_path, *(f"audio/{line.split(',')[0]}" for line in lines[1:]))
    write(root / "meta", esc50__csv="\n".join(lines) + "\n")
    train, test = (esc50.make(root, split, fold=3) for split in esc50.SPLITS)
    assert train.classes == ("dog", "pig", "rain") and (len(train), len(test)) == (12, 3)
    assert seen(test, root) == {
        "audio/3-7-A-0.wav": "dog", "audio/3-7-A-2.wav": "pig", "audio/3-7-A-10.wav": "rain",
    }  # fmt: skip
    assert {r["group"] for r in test} == {"37"} and test.name == "esc50/test fold 3"
    small = esc50.esc10(root, "train", fold=3)
    assert small.classes == ("dog", "rain") and len(small) == small.num_listed == 8
    with pytest.raises(ValueError, match="unknown fold 6"):
        esc50.make(root, "test", fold=6)


def test_dcase2014_reads_classes_from_file_names(tmp_path):
    root = make_files(
        tmp_path, "scenes_stereo/bus01.wav", "scenes_stereo/busystreet12.wav", "scenes_stereo/x.wav",
        "deep/scenes_stereo_testset/scenes_stereo_testset/bus01.wav", "zoo01.wav",
    )  # fmt: skip
    train, test = (dcase2014.make(root, split) for split in dcase2014.SPLITS)
    assert len(train.classes) == 10
    assert seen(train, root) == {
        "scenes_stereo/bus01.wav": "bus", "scenes_stereo/busystreet12.wav": "busystreet",
    }  # fmt: skip
    assert list(seen(test, root).values()) == ["bus"]
    with pytest.raises(FileNotFoundError, match="scenes_stereo_testset: unpack"):
        dcase2014.make(root / "scenes_stereo", "test")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Ten videos that TFDS has prepared: frame k of video i has the value 20 i + k."""
    import tensorflow_datasets as lib

    class Tiny(lib.core.GeneratorBasedBuilder):
        VERSION = lib.core.Version("1.0.0")
        __module__ = "tiny"  # In a package, tfds 4.9.10 asks for importlib_resources.

        def _info(self):
            image = lib.features.Image(shape=(None, None, 3), encoding_format="png")
            label = lib.features.ClassLabel(names=["cat", "dog"])
            features = {"video": lib.features.Sequence(image), "label": label}
            return lib.core.DatasetInfo(
                builder=self, features=lib.features.FeaturesDict(features), disable_shuffling=True
            )

        def _split_generators(self, manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i in range(10):
                frames = [np.full((24, 32, 3), 20 * i + k, np.uint8) for k in range(8)]
                pngs = [io.BytesIO(cv2.imencode(".png", frame)[1].tobytes()) for frame in frames]
                yield i, {"video": pngs, "label": i % 2}

    builder = Tiny(data_dir=tmp_path_factory.mktemp("tfds"))
    builder.download_and_prepare(file_format="array_record")
    return builder.data_path


def test_tfds_frames_match_their_timestamps(prepared):
    source = tfds.make(prepared, "train", fps=4)
    assert len(source) == source.num_listed == 10 and source.classes == ("cat", "dog")
    assert [record["label"] for record in source] == [0, 1] * 5

    def clip(row, start, frames, fps, short_side=None):
        sampler = clip_sampling.ClipSampler(
            frames, fps, 0, 16000, 1, lambda info, rng: [(start, start)], short_side
        )
        (made,), has_audio = source.read(row, sampler, [np.random.default_rng(0)])
        assert not has_audio and "audio" not in made
        return made["video"]

    assert clip(3, 0.0, 8, 4)[:, 0, 0, 0].tolist() == list(range(60, 68))
    assert clip(3, 0.5, 3, 2)[:, 5, 5, 1].tolist() == [62, 64, 66]
    assert clip(9, 1.7, 4, 4)[:, 0, 0, 0].tolist() == [186, 187, 186, 187]
    assert clip(0, 0.0, 1, 4).shape == (1, 24, 32, 3)
    assert clip(0, 0.0, 1, 4, short_side=12).shape == (1, 12, 16, 3)


def test_tfds_feeds_the_pipeline(prepared):
    source = pickle.loads(pickle.dumps(tfds.make(prepared, "train", fps=4)))
    sampler = clip_sampling.random(4, 4, 0.0, 16000)
    (batch,) = pipeline.train_batches(source, sampler, (), 8, seed=0, stop=1)
    first = batch["video"][:, 0, 0, 0, 0].astype(int)
    assert (first // 20 == batch["index"]).all() and (batch["label"] == batch["index"] % 2).all()
    assert not batch["has_audio"].any()


def test_tfds_reports_unreadable_features(prepared, tmp_path):
    for split, more, says in (
        ("test", {}, "unknown split 'test': use one of .'train'"),
        ("train", {"label": "class"}, "no feature 'class', only .'label', 'video'"),
        ("train", {"fps": 0}, "fps=0: use more"),
    ):
        with pytest.raises(ValueError, match=says):
            tfds.make(prepared, split, **{"fps": 4, **more})
    with pytest.raises(FileNotFoundError, match="no file .*dataset_info.json"):
        tfds.make(tmp_path, "train", fps=4)
    told = json.loads((prepared / "dataset_info.json").read_text())
    (tmp_path / "dataset_info.json").write_text(json.dumps(told))
    with pytest.raises(FileNotFoundError, match="lacks 1 files, e.g. .*-00000-of-00001"):
        tfds.make(tmp_path, "train", fps=4)
    (tmp_path / "dataset_info.json").write_text(json.dumps({**told, "fileFormat": "tfrecord"}))
    with pytest.raises(ValueError, match="format tfrecord.*array_record"):
        tfds.make(tmp_path, "train", fps=4)
