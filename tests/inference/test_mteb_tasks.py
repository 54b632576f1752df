"""mteb evaluates a run on tasks of its own kinds, made here; nothing is downloaded."""

import numpy as np
import pytest

mteb = pytest.importorskip("mteb")

from datasets import Dataset, DatasetDict  # noqa: E402
from mteb.abstasks import AbsTaskClassification, AbsTaskRetrieval  # noqa: E402
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData  # noqa: E402
from mteb.abstasks.task_metadata import TaskMetadata  # noqa: E402

from avjax.inference import mteb_model  # noqa: E402
from tests.inference.test_mteb_model import Decoder, Rows, paths, run  # noqa: E402, F401

KNOWN = dict(
    description="Clips of the synthetic world.",
    dataset={"path": "none", "revision": "1"},
    reference=None,
    eval_splits=["test"],
    eval_langs=["eng-Latn"],
    date=("2026-01-01", "2026-01-02"),
    domains=[],
    task_subtypes=[],
    license="cc-by-4.0",
    annotations_creators="derived",
    dialect=[],
    sample_creation="created",
    bibtex_citation="",
)


def metadata(name, kind, category, modalities, main_score):
    fields = dict(type=kind, category=category, modalities=modalities, main_score=main_score)
    return TaskMetadata(name=name, **fields, **KNOWN)


def with_decoders(files, column, **others):
    """A data set whose rows hold decoders, as those of real tasks do."""

    def decode(batch):
        if column not in batch:
            return batch
        decoders = [Decoder(path) for path in batch[column]]
        out = dict(batch) | {column: [d.sound if column == "audio" else d for d in decoders]}
        if "audio" in batch and column == "video":
            out["audio"] = [d.sound for d in decoders]
        return out

    return Dataset.from_dict({column: files, **others}).with_transform(decode)


class Classification(AbsTaskClassification):
    """Clips of both modalities, of two classes."""

    metadata = metadata("FakeClips", "VideoClassification", "va2c", ["video", "audio"], "accuracy")
    input_column_name = ("video", "audio")
    n_experiments = 2
    samples_per_label = 3

    def load_data(self, **kwargs):
        label = [i % 2 for i in range(len(self.files))]
        data = with_decoders(self.files, "video", audio=self.files, label=label)
        self.dataset = DatasetDict({"train": data, "test": data})
        self.data_loaded = True


class Retrieval(AbsTaskRetrieval):
    """The audio of each video."""

    metadata = metadata("FakeV2A", "Any2AnyRetrieval", "v2a", ["video", "audio"], "hit_rate_at_5")

    def load_data(self, **kwargs):
        n = len(self.files)
        queries = with_decoders(self.files, "video", id=[f"q{i}" for i in range(n)])
        corpus = with_decoders(self.files, "audio", id=[f"d{i}" for i in range(n)])
        relevant = {f"q{i}": {f"d{i}": 1} for i in range(n)}
        split = RetrievalSplitData(
            queries=queries, corpus=corpus, relevant_docs=relevant, top_ranked=None
        )
        self.dataset = {"default": {"test": split}}
        self.data_loaded = True


@pytest.fixture(scope="module")
def model(run):  # noqa: F811
    return mteb_model.load(run, batch_size=7, trust=("tests",))


def evaluate(model, kind, files):
    task = kind()
    task.files = files
    task.load_data()
    (found,) = mteb.evaluate(model, task, cache=None, co2_tracker=False).task_results
    return found.scores["test"][0]


def test_classification_is_the_same_for_any_batch_size(run, model, paths):  # noqa: F811
    found = evaluate(model, Classification, paths)
    assert len(found["scores_per_experiment"]) == 2
    other = evaluate(mteb_model.load(run, batch_size=64, trust=("tests",)), Classification, paths)
    assert other["accuracy"] == found["accuracy"]


def test_retrieval_across_modalities_ranks_by_cosine(model, paths):  # noqa: F811
    found = evaluate(model, Retrieval, paths)
    rows = [Decoder(path) for path in paths]
    vectors = []
    for column, items in (("video", rows), ("audio", [r.sound for r in rows])):
        data = Rows({column: item} for item in items)
        data.column_names = (column,)
        vectors.append(model.encode(type("Loader", (), {"dataset": data})))
    cosine = vectors[0] @ vectors[1].T
    rank = (cosine > np.diagonal(cosine)[:, None]).sum(axis=1)
    assert found["hit_rate_at_1"] == pytest.approx((rank < 1).mean(), abs=1e-4)
    assert found["hit_rate_at_5"] == pytest.approx((rank < 5).mean(), abs=1e-4)
    np.testing.assert_allclose(model.similarity(*vectors), cosine, atol=1e-6)


def test_model_is_described_to_mteb(run, model):  # noqa: F811
    meta = model.mteb_model_meta
    assert meta.name == "avjax/tiny" and meta.modalities == ["video", "audio"]
    assert meta.revision.startswith("1-") and meta.framework == ["JAX"]
    assert meta.experiment_kwargs == {"of": "embedding"}
    assert isinstance(model, mteb.models.models_protocols.EncoderProtocol)
    again = mteb_model.load(run, name="me/mine", num_clips=3, trust=("tests",)).mteb_model_meta
    assert again.revision == meta.revision and again.name == "me/mine"
    assert again.experiment_kwargs == {"of": "embedding", "num_clips": 3}
    with pytest.raises(ValueError, match="of='logits': use one of embedding, features"):
        mteb_model.load(run, of="logits")
