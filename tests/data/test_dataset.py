"""Any known data set, prepared or not, as configs ask for it."""

import importlib
import inspect
import json
import os

import pytest

from avjax import prepare
from avjax.config.build import build, substitute
from avjax.configs import parts
from avjax.data import dataset, dataset_args
from avjax.data.source import NoRecords, Source
from tests.data.datasets.test_known import HEAD, LABELS, SEGMENTS, make_files, ucf, write

VGG = "a,30,bark,train\nb,1,wind,test\n"
ESC = "filename,fold,target,category\n1-a.wav,1,0,dog\n2-a.wav,2,0,dog\n3-b.wav,3,1,pig\n"
NET = {"a": ("training", [1, 2]), "b": ("validation", [0, 2])}


def layout(name, home):
    """(root, options) of a few empty files, laid out and listed as those of the data set."""
    root, lists = home / "files", home / "lists"
    if name == "folder":
        return make_files(root, "x/a.mp4", "y/b.mp4"), dict(splits=str(csv(home)))
    if name == "kinetics":
        return make_files(root, "train/x/a.mp4", "val/x/b.mp4"), {}
    if name == "audioset":
        files = {f"{split}_segments__csv": SEGMENTS for split in ("balanced_train", "eval")}
        files |= dict(unbalanced_train_segments__csv=SEGMENTS, class_labels_indices__csv=LABELS)
        write(lists, **files)
        return make_files(root, "--a.wav", "b_0.mp4"), dict(lists=str(lists))
    if name == "vggsound":
        file = write(lists, vggsound__csv=VGG) / "vggsound.csv"
        return make_files(root, "a_000030.mp4", "b_000001.mp4"), dict(annotations=str(file))
    if name == "ucf101":
        make_files(root, "v_Archery_g01_c01.avi", "v_Archery_g02_c01.avi")
        return root, dict(lists=str(ucf(home)))
    if name == "hmdb51":
        write(lists, climb_test_split1__txt="a.avi 1\nb.avi 2\n")
        return make_files(root, "climb/a.avi", "climb/b.avi"), dict(lists=str(lists))
    if name == "activitynet":
        known = {
            video: dict(subset=part, annotations=[dict(segment=at, label="Run")])
            for video, (part, at) in NET.items()
        }
        file = write(lists, net__json=json.dumps({"database": known})) / "net.json"
        return make_files(root, "v_a.mp4", "v_b.mp4"), dict(annotations=str(file))
    if name == "esc50":
        write(
            make_files(root, "audio/1-a.wav", "audio/2-a.wav", "audio/3-b.wav") / "meta",
            esc50__csv=ESC,
        )
        return root, dict(fold=2)
    return make_files(root, "scenes_stereo/bus01.wav", "scenes_stereo_testset/bus01.wav"), {}


SETS = ("folder", "kinetics", "audioset", "vggsound", "ucf101", "hmdb51", "activitynet", "esc50",
        "dcase2014")  # fmt: skip
SERVES = {  # Role -> the split that serves it, where it is not the role's own name.
    "kinetics": dict(test="val"),
    "activitynet": dict(test="val"),
    "audioset": dict(train="unbalanced_train", probe="balanced_train", test="eval"),
}


def csv(home):
    file = home / "splits.csv"
    file.write_text("path,split\nx/a.mp4,train\ny/b.mp4,test\n")
    return file


def prepared(out, name, root, options):
    """What avjax.prepare leaves for readers, but for the shards."""
    maker, known = dataset_args.resolve_dataset(name, name)
    splits, classes = {}, ()
    out.mkdir()
    for split in known:
        try:
            source = maker(root, split, **options)
        except (NoRecords, FileNotFoundError):
            continue
        info = dict(video_start=0.0, audio_start=0.0)
        rows = [
            dict(r, path=os.path.relpath(r["path"], root), split=split, info=info) for r in source
        ]
        (out / f"records-{split}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        splits[split] = dict(
            records=f"records-{split}.jsonl", num_listed=source.num_listed, template=""
        )
        classes = source.classes
    metadata = dict(version=1, name=name, root=str(root), classes=classes, splits=splits)
    metadata |= dict(short_side=256, fps=16.0, sample_rate=24_000, channels=1)
    (out / "prepared.json").write_text(json.dumps(metadata))
    return out


def asked(name, root, **options):
    """The sources of training, probes and test as a config has them, its flags set."""
    import ml_collections

    c = ml_collections.ConfigDict(dict(data=parts.user_videos()))
    sources = {role: parts.split_for_role(c.data, role) for role in dataset.ROLES}
    c.data.source, c.data.root = name, str(root)
    for key, value in options.items():
        c.data[key] = value
    return substitute(sources, "")


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("ready", [False, True], ids=["files", "prepared"])
def test_every_known_dataset_has_training_and_test(tmp_path, name, ready):
    root, options = layout(name, tmp_path)
    if ready:
        root, options = prepared(tmp_path / "out", name, root, options), {}
    serves = dict(train="train", probe="train", test="test") | SERVES.get(name, {})
    for source in (name, f"avjax.data.datasets.{name}"):
        for role, spec in asked(source, root, **options).items():
            made = build(spec)
            assert len(made) and f"/{serves[role]}" in made.name, made.name


def test_prepared_dataset_needs_no_name(tmp_path):
    root, options = layout("audioset", tmp_path)
    out = prepared(tmp_path / "out", "audioset", root, options)
    for source in ("folder", "kinetics", "shards", "avjax.data.datasets.shards"):
        made = build(asked(source, out)["train"])
        assert made.read and made.name == "audioset/unbalanced_train"
    with pytest.raises(FileNotFoundError, match="no prepared data set in"):
        build(asked("shards", root)["train"])


def test_splits_can_be_chosen(tmp_path):
    root, options = layout("audioset", tmp_path)
    chosen = dict(train_split="balanced_train", test_split="unbalanced_train")
    sources = asked("audioset", root, **options, **chosen)
    assert build(sources["train"]).name == "audioset/balanced_train"
    assert build(sources["test"]).name == "audioset/unbalanced_train"
    out = prepared(tmp_path / "out", "audioset", root, options)
    assert build(asked("folder", out, **chosen)["test"]).name == "audioset/unbalanced_train"
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        build(asked("audioset", root, **options, train_split="dev")["train"])


def test_missing_test_split_falls_back_to_val(tmp_path):
    root = make_files(tmp_path / "clips", "a_000000_000010.mp4", "b_000000_000010.mp4")
    lists = write(
        tmp_path / "lists",
        train__csv=HEAD + "x,a,0,10,train,0\n",
        val__csv=HEAD + "x,b,0,10,val,0\n",
        test__csv=HEAD + "x,c,0,10,test,0\n",
    )
    assert build(asked("kinetics", root, annotations=str(lists))["test"]).name == "kinetics/val"
    (root / "b_000000_000010.mp4").unlink()
    sources = asked("kinetics", root, annotations=str(lists))
    assert len(build(sources["train"])) == 1
    with pytest.raises(NoRecords, match="kinetics/test: none of its 1 files"):
        build(sources["test"])


def test_missing_training_split_has_no_fallback(tmp_path):
    root, options = layout("audioset", tmp_path)
    os.remove(tmp_path / "lists" / "unbalanced_train_segments.csv")
    with pytest.raises(FileNotFoundError, match="no file .*unbalanced_train_segments.csv"):
        build(asked("audioset", root, **options)["train"])


def test_missing_test_split_only_affects_evaluation(tmp_path):
    root = make_files(tmp_path / "files", "train/x/a.mp4")
    sources = asked("kinetics", root)
    assert len(build(sources["train"])) == 1
    with pytest.raises(NoRecords):
        build(sources["test"])
    out = prepared(tmp_path / "out", "kinetics", root, {})
    with pytest.raises(NoRecords, match="only the splits train: set.*config.data.test_split="):
        build(asked("kinetics", out)["test"])


@pytest.mark.parametrize("name", (*SETS, "ucf101.ucf51", "shards"))
def test_missing_root_of_dataset_is_reported(name):
    with pytest.raises(
        ValueError, match=r"config.data.root is not set: add --config.data.root=DIR"
    ):
        dataset.make(name, None, "train")


def test_unknown_dataset_option_is_refused(tmp_path):
    root, options = layout("kinetics", tmp_path)
    with pytest.raises(
        ValueError, match="data.group is set, but .*kinetics takes only annotations, "
    ):
        build(asked("kinetics", root, group="_g")["train"])
    out = prepared(tmp_path / "out", "kinetics", root, options)
    for key, value in (("lists", "x"), ("holdout", 0.5), ("trimmed", False), ("fold", 2)):
        with pytest.raises(ValueError, match=f"data.{key} is set, but .*prepare"):
            build(asked("kinetics", out, **{key: value})["train"])


def test_prepared_dataset_accepts_user_splits(tmp_path):
    root, options = layout("folder", tmp_path)
    out = prepared(tmp_path / "out", "folder", root, options)
    table = tmp_path / "other.csv"
    table.write_text("path,split2\nx/a.mp4,test\ny/b.mp4,train\n")
    made = build(asked("folder", out, splits=str(table), fold=2)["train"])
    assert [os.path.basename(record["path"]) for record in made] == ["b.mp4"]


@pytest.mark.parametrize(
    "name,says",
    [
        ("ucf101", "needs .*lists=... .the folder of the official classInd.txt, trainlist01.txt"),
        ("ucf101.ucf51", "needs .*lists=... .the folder of the official classInd.txt"),
        ("hmdb51", "needs .*lists=... .the folder of the official <class>_test_split<fold>.txt"),
        ("audioset", "needs .*lists=... .the folder of the official <split>_segments.csv"),
        ("vggsound", "needs .*annotations=... .the official vggsound.csv"),
        ("activitynet", "needs .*annotations=... .the official activity_net.v1-3.min.json"),
    ],
)
def test_missing_lists_report_option_and_origin(tmp_path, name, says):
    with pytest.raises(ValueError, match=says) as error:
        build(asked(name, tmp_path)["train"])
    assert "http" in str(error.value) and "needs --config.data." in str(error.value)
    with pytest.raises(SystemExit, match=says.replace("needs ", "--dataset .* needs --set ")):
        prepare.main([str(tmp_path), str(tmp_path / "out"), "--dataset", name])


@pytest.mark.parametrize("name", SETS[1:])
def test_missing_files_report_origin_and_layout(tmp_path, name):
    root, options = layout(name, tmp_path)
    (tmp_path / "bare" / "meta").mkdir(parents=True)
    if name == "esc50":
        write(tmp_path / "bare" / "meta", esc50__csv=ESC)
    for bare in (tmp_path / "nowhere", tmp_path / "bare"):
        with pytest.raises(FileNotFoundError, match="http.*root (holds|is)") as error:
            build(asked(name, bare, **options)["train"])
        assert str(bare) in str(error.value) or "none of its" in str(error.value)


@pytest.mark.parametrize(
    "name,says",
    [
        ("kinetcs", "use one of activitynet, audioset, .*did you mean kinetics"),
        ("nonsense", "source=nonsense cannot be imported: use one of .*, or the dotted name of"),
        ("ucf101.ucf52", "did you mean ucf101"),
        ("avjax.data.datasets.kinetic", "did you mean kinetics"),
        ("", "cannot be imported: use one of"),
        ("swapped_audio", "source=swapped_audio is not a data set"),
        ("json.dumps", "source=json.dumps is not a data set"),
    ],
)
def test_unknown_dataset_is_refused_with_known_names(tmp_path, name, says):
    with pytest.raises(ValueError, match=says):
        build(asked(name, tmp_path)["train"])


def test_names_in_messages_are_datasets():
    assert set(SETS) < set(dataset_args.dataset_names())
    for name in SETS:
        maker, splits = dataset_args.resolve_dataset(name, name)
        assert callable(maker) and splits
        module = importlib.import_module(f"avjax.data.datasets.{name}")
        assert name == "folder" or module.DOWNLOAD_HINT.count("http") == 1


def own(root, split, years=()):
    """A data set of one's own, in a module without SPLITS."""
    return Source(f"own/{split}", (dict(path=os.path.join(root, str(years)), label=0),))


def test_user_dataset_is_found_by_dotted_name(tmp_path):
    made = dataset.make(
        "tests.data.test_dataset.own", str(tmp_path), "test", years=(2010,), fold=None
    )
    assert made.name == "own/test" and made[0]["path"].endswith("(2010,)")
    with pytest.raises(ValueError, match="takes only years"):
        dataset.make("tests.data.test_dataset.own", str(tmp_path), "train", fold=3)


def test_every_config_option_is_an_argument_of_a_dataset():
    makers = [dataset_args.resolve_dataset(name, name)[0] for name in SETS]
    taken = set().union(*(inspect.signature(maker).parameters for maker in makers))
    assert set(parts.OPTIONS) - {"train_split", "test_split"} <= taken
