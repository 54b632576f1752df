"""The config of a run names its own data sets only if they read files, or write within its folder."""

import os
from types import SimpleNamespace

import pytest

from avjax.config.build import substitute
from avjax.configs import smoke
from avjax.downstream import data, own_data
from avjax.training import sources
from avjax.types import NotApplicable

KEY = "config.evals.x.test.source"
SYNTHETIC = "avjax.data.datasets.synthetic"


def test_the_data_of_the_smoke_run_need_no_trust(tmp_path):
    config = substitute(smoke.get_config().to_dict(), str(tmp_path))
    for key, spec in sources.find_datasets(config["evals"]):
        assert SYNTHETIC in own_data.check(spec["source"], key, str(tmp_path), ())


@pytest.mark.parametrize(
    "spec,says",
    [
        (dict(fn=SYNTHETIC, root="/tmp/elsewhere"), f"{KEY}.root='/tmp/elsewhere' is refused.*--trust"),
        (dict(fn=SYNTHETIC, root="RUN/../x"), f"{KEY}.root=.* is refused"),
        (dict(fn=SYNTHETIC, args=["/tmp/elsewhere", "test"]), f"{KEY}.root=None is refused"),
        (dict(fn=f"{SYNTHETIC}.make", root="RUN/x"), "is refused"),
        (dict(ref=f"{SYNTHETIC}.write_ground_truth"), "is refused"),
        (dict(fn="avjax.data.datasets.swapped_audio.within_class", source=dict(fn=SYNTHETIC, root="/x")),
         f"{KEY}.source.root='/x' is refused"),
        (dict(fn="avjax.data.dataset", source="evil", root="/", role="test"), "source.fn='evil' is"),
        (dict(fn="avjax.data.dataset", source="synthetic", root="/x", role="test"), "'synthetic' is"),
        (dict(fn="avjax.data.dataset", source="decoded_cache"), "'decoded_cache' is refused"),
        (dict(fn="avjax.data.dataset", source="folder.os.system"), "'folder.os.system' is refused"),
        (dict(fn="avjax.data.dataset", source="folder.__loader__"), "is refused"),
        (dict(fn="avjax.data.dataset", args=["evil", "/", "test"]), "give a dotted name"),
    ],
)  # fmt: skip
def test_data_sets_that_write_or_import_are_refused(tmp_path, spec, says):
    spec = substitute({"spec": spec}, "")["spec"]
    spec |= {"root": spec["root"].replace("RUN", str(tmp_path))} if "root" in spec else {}
    with pytest.raises(ValueError, match=says):
        own_data.check(spec, KEY, str(tmp_path), ())


def test_other_names_are_refused_as_they_are_built(tmp_path):
    for spec in (dict(fn="os.system", args=["true"]), dict(fn="avjax.data.prepare.processes.run")):
        trust = own_data.check(spec, KEY, str(tmp_path), ())
        with pytest.raises(ValueError, match="is refused in the config of a run"):
            sources.open_source(spec, KEY, {}, trust)


def test_readers_and_trusted_packages_are_opened(tmp_path):
    for source in ("folder", "avjax.data.datasets.ucf101.ucf51", "tests.mine"):
        spec = dict(fn="avjax.data.dataset", source=source, root=str(tmp_path), role="test")
        assert "avjax.data.dataset" in own_data.check(spec, KEY, str(tmp_path), ("tests",))
    spec = dict(fn=SYNTHETIC, root=str(tmp_path / "x"), split="test", num_videos=1)
    assert SYNTHETIC in own_data.check(spec, KEY, "/elsewhere", (SYNTHETIC,))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.mp4").write_bytes(b"x")
    spec = dict(fn="avjax.data.datasets.folder", root=str(tmp_path), split="all")
    source = sources.open_source(spec, KEY, {}, own_data.check(spec, KEY, str(tmp_path), ()))
    assert [os.path.basename(record["path"]) for record in source.records] == ["x.mp4"]
    with pytest.raises(ValueError, match="baselines need a data set"):
        data.open_source(data.Split("mine", "all", {}, "", "", 1, None), "test", None)


def test_a_ported_run_has_no_data_of_its_own():
    evals = dict(ported=dict(source=None, clip_sampler={}, transforms=()))
    run = SimpleNamespace(config=dict(evals=evals), folder="", trust=())
    with pytest.raises(NotApplicable, match="no data of its own"):
        data.open_source(data.Split("knn", "all", {}, "", "", 1, None), "test", run)
