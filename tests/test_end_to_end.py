"""The main job, whole: rendered files in, held-out retrieval well above chance out."""

import csv

import pytest

from avjax.configs import parts
from avjax.report import run_page
from tests import tiny


@pytest.mark.slow  # Two minutes; configs/smoke.py is the same, larger.
def test_audio_retrieves_its_video_among_unseen_files(tmp_path_factory, tmp_path):
    world = tmp_path_factory.mktemp("larger_world")
    config = tiny.config(world, steps=100, batch_size=48, log_every=25, save_every=100)
    config["init_examples"] = 96
    clip = dict(num_frames=6, fps=6.0, audio_seconds=2.0, sample_rate=16_000, frame_size=(48, 48))
    source = dict(fn="avjax.data.datasets.synthetic", root=str(world), seconds=3.0, size=48)
    ours, theirs = (
        dict(source, split="train", num_videos=192),
        dict(source, split="test", num_videos=96),
    )
    mild = dict(max_offset_seconds=0.0, min_area=0.5, color_jitter=0.0, hue=0.0)
    config["data"] = dict(train=parts.apply_on_host(parts.train_clips(ours, **clip, **mild), 32))
    config["evals"]["world"] |= dict(
        train=parts.apply_on_host(parts.eval_clips(ours, **clip, num_clips=2), 32),
        test=parts.apply_on_host(parts.eval_clips(theirs, **clip, num_clips=2), 32),
    )
    config["method"]["model"] = parts.towers(
        video=dict(fn="avjax.nets.video.avid_r2plus1d.R2Plus1D", depth=10, width=8),
        audio=dict(fn="avjax.nets.audio.avid_convnet.AudioConvNet", width=8),
        head=(64, 32),
        window=512,
        hop=480,
    )
    config["optimizer"] = dict(fn="optax.adam", learning_rate=2e-3)
    tiny.run(config, tmp_path, report=run_page.write)

    with open(tmp_path / "metrics.csv", newline="") as f:
        rows = {(int(r["step"]), r["name"]): float(r["value"]) for r in csv.DictReader(f)}
    for way in ("v2a", "a2v"):
        name = f"eval/world/retrieval/{way}"
        assert rows[0, f"{name}/median_rank"] > 30
        assert rows[100, f"{name}/median_rank"] < 24
        assert rows[100, f"{name}/recall@10"] > 2.5 * 100 * 10 / 96
    page = (tmp_path / "report.html").read_text()
    assert "eval/world/retrieval/v2a/recall@1" in page and "data:image" in page
