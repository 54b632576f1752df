"""Draws docs/assets/hero.gif: the smoke run, as a similarity matrix that becomes a diagonal.

    PYTHONPATH=. python docs/make_hero.py runs/hero

Trains configs/smoke.py with a checkpoint every ten steps (about five minutes on two cores), then
embeds the test videos with each checkpoint.  An existing run in the folder is used as it is.
"""

import sys
from pathlib import Path

import av
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import PowerNorm
from PIL import Image

NUM_CLIPS = 32
SHOWN = (5, 14, 19, 27)  # Rows of the matrix whose clips are shown, see `choose`.
COLORS = ("#f2b134", "#4cc9f0", "#f7768e", "#8bd17c")
BACKGROUND, TEXT, DIM = "#12161e", "#e8ecf3", "#97a1b3"
FRAME_MS, HOLD = 70, 24  # Milliseconds per frame; frames at the end.
TEMPERATURE = 0.07  # Of configs/smoke.py.
SIZE = (9.6, 4.6)  # Inches at 100 dots.


def train(workdir: str) -> None:
    """Trains the smoke run with a checkpoint every ten steps, unless it is trained already."""
    from avjax import main

    if not (Path(workdir) / "report.html").is_file():
        flags = ("--config.save_every=10", "--config.max_to_keep=40")
        main.main(["--config", "configs/smoke.py", "--workdir", workdir, *flags])


def embeddings(workdir: str) -> dict[str, np.ndarray]:
    """Embeds the test videos with the untrained nets and with each checkpoint of a run.

    Returns:
      {"step": [S], "recall": [S] R@10 in %, "video", "audio": [S, N, D], "path", "label": [N],
      "classes": [C]}; cached in `workdir`/hero.npz.
    """
    cache = Path(workdir) / "hero.npz"
    if cache.is_file():
        with np.load(cache) as arrays:
            return dict(arrays)
    rows = []
    for step, values in evaluations(workdir):
        directions = [values[f"retrieval/{way}/recall@10"] for way in ("v2a", "a2v")]
        rows.append(
            (step, np.mean(directions), *(values[f"test/{m}/embedding"] for m in MODALITIES))
        )
        print(f"step {step}: R@10 {rows[-1][1]:.1f} %", flush=True)
    names = ("step", "recall", *MODALITIES)
    out = {name: np.array(column) for name, column in zip(names, zip(*rows))}
    out |= {name: values[f"test/{name}"] for name in ("path", "label", "classes")}
    np.savez(cache, **out)
    return out


MODALITIES = ("video", "audio")


def evaluations(workdir: str):
    """Yields (step, values of the retrieval evaluation) of the checkpoints, step 0 first."""
    import jax
    import orbax.checkpoint as ocp

    from avjax.config.build import build, substitute
    from avjax.runtime import checkpoint, run_config
    from avjax.training.init_examples import first_clips

    config = substitute(run_config.read(workdir), workdir)
    method, place = build(config["method"]), jax.sharding.SingleDeviceSharding(jax.devices()[0])
    spec = dict(config["evals"]["world"], train=None)
    spec["scores"] = {"retrieval": spec["scores"]["retrieval"]}
    evaluate, embed = build(spec), embed_function(method)
    data = build(config["data"]["train"])
    data |= dict(batch_size=config["batch_size"], seed=config["seed"])
    rng = jax.random.split(jax.random.key(config["seed"]))[1]
    clips = first_clips(data, config["init_examples"])
    untrained = jax.jit(method.init, static_argnums=2)(rng, clips, len(data["source"]))
    yield 0, evaluate(embed, untrained)
    with checkpoint.open_checkpoints(workdir, write=False) as checkpoints:
        manager = checkpoints.manager
        for step in sorted(manager.all_steps()):
            shapes = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
                manager.item_metadata(step).tree,
            )
            saved = manager.restore(step, args=ocp.args.StandardRestore(shapes))
            yield step, evaluate(embed, (saved["params"], saved["state"]))


def embed_function(method):
    """Returns ((params, state), batch) -> embeddings, as an evaluator takes it."""
    import jax

    embed = jax.jit(method.embed)
    known = ("index", "label", "mask")
    return lambda ts, batch: jax.device_get(embed(*ts, batch)) | {k: batch[k] for k in known}


def choose(found) -> np.ndarray:
    """Returns the rows of the clips of the matrix: the first ones of the test set, by class."""
    return np.argsort(found["label"][:NUM_CLIPS], kind="stable")


def read_clip(path: str, seconds=2.0):
    """Returns the frames [T, H, W, 3] and the spectrogram [F, S] in decibels of a file's start."""
    with av.open(path) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
        fps = float(file.streams.video[0].average_rate)
    with av.open(path) as file:
        rate = file.streams.audio[0].rate
        wave = np.concatenate([part.to_ndarray().ravel() for part in file.decode(audio=0)])
    wave = wave[: int(seconds * rate)].astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(wave, 1024)[::160] * np.hanning(1024)
    power = np.abs(np.fft.rfft(windows, axis=-1).T[:190]) ** 2
    bands = power.reshape(95, 2, -1).mean(1)
    decibels = 10 * np.log10(bands + 1e-6)
    return np.stack(frames[: int(seconds * fps)]), np.maximum(decibels, decibels.max() - 55)


def figure(clips, names):
    """Returns (figure, update): update(state) draws one frame of the animation."""
    matplotlib.rcParams |= {"font.family": "DejaVu Sans", "text.color": TEXT}
    fig = plt.figure(figsize=SIZE, dpi=100, facecolor=BACKGROUND)
    fig.text(0.03, 0.925, "Videos with audio, no labels", size=13, weight="bold")
    fig.text(0.452, 0.925, "Which audio belongs to which video?", size=13, weight="bold")
    images, heads = [], []
    for i, ((frames, spectrogram), name, color) in enumerate(zip(clips, names, COLORS)):
        bottom = 0.685 - 0.205 * i
        box = fig.add_axes((0.03, bottom, 0.092, 0.19))
        images.append(box.imshow(frames[0], interpolation="bilinear"))
        sound = fig.add_axes((0.134, bottom, 0.27, 0.19))
        sound.imshow(spectrogram, origin="lower", aspect="auto", cmap="magma")
        heads.append(sound.axvline(0, color="white", lw=1.4, alpha=0.9))
        sound.text(0.985, 0.9, name, transform=sound.transAxes, size=9.5, ha="right", va="top")
        for axes in (box, sound):
            axes.set(xticks=[], yticks=[])
            for side in axes.spines.values():
                side.set(color=color, lw=1.6)
    fig.text(0.076, 0.025, "video", size=10, color=DIM, ha="center")
    fig.text(0.269, 0.025, "spectrogram of its audio", size=10, color=DIM, ha="center")
    return fig, images, heads


def matrix_axes(fig):
    """Returns (image, texts) of the similarity matrix at the right of the figure."""
    height = 0.80
    axes = fig.add_axes((0.452, 0.085, height * SIZE[1] / SIZE[0], height))
    image = axes.imshow(np.zeros((NUM_CLIPS,) * 2), cmap="magma", norm=PowerNorm(0.6, 0, 0.6))
    for row, color in zip(SHOWN, COLORS):
        axes.plot(-1.2, row, ">", color=color, ms=7, clip_on=False)
        axes.plot(row, NUM_CLIPS + 0.2, "^", color=color, ms=7, clip_on=False)
    axes.set(xticks=[], yticks=[], xlim=(-0.5, NUM_CLIPS - 0.5), ylim=(NUM_CLIPS - 0.5, -0.5))
    axes.set_xlabel(f"audio of {NUM_CLIPS} test clips", size=10, color=DIM, labelpad=11)
    axes.set_ylabel("their video", size=10, color=DIM, labelpad=11)
    for side in axes.spines.values():
        side.set_visible(False)
    left = 0.872
    fig.text(left, 0.845, "training step", size=10.5, color=DIM)
    step = fig.text(left, 0.755, "", size=24, weight="bold")
    fig.text(left, 0.62, "R@10", size=10.5, color=DIM)
    recall = fig.text(left, 0.53, "", size=24, weight="bold", color=COLORS[0])
    note = "own audio among\nthe 10 nearest of\n144 test clips\n\nchance: 6.9 %"
    fig.text(left, 0.505, note, size=9.5, color=DIM, va="top", linespacing=1.35)
    return image, step, recall


def draw(found, out: str) -> None:
    """Writes the animation to `out`."""
    rows = choose(found)
    shown = [rows[i] for i in SHOWN]
    clips = [read_clip(found["path"][i].decode()) for i in shown]
    fig, images, heads = figure(clips, [found["classes"][found["label"][i]] for i in shown])
    image, step_text, recall_text = matrix_axes(fig)
    cosines = found["video"][:, rows] @ found["audio"][:, rows].transpose(0, 2, 1)
    scores = np.exp(cosines / TEMPERATURE)
    scores /= scores.sum(-1, keepdims=True)  # What the loss sees of these clips.
    times = [i for i in range(len(scores)) for _ in range(2)] + [len(scores) - 1] * HOLD
    pages = []
    for n, i in enumerate(times):
        seconds = n * FRAME_MS / 1000 % 2.0
        for (frames, spectrogram), picture, head in zip(clips, images, heads):
            picture.set_data(frames[int(seconds / 2.0 * len(frames))])
            head.set_xdata([seconds / 2.0 * spectrogram.shape[1]] * 2)
        image.set_data(scores[i])
        step_text.set_text(f"{found['step'][i]}")
        recall_text.set_text(f"{found['recall'][i]:.0f} %")
        fig.canvas.draw()
        pages.append(Image.fromarray(np.asarray(fig.canvas.buffer_rgba())[..., :3].copy()))
    save(pages, out)


def save(pages, out: str) -> None:
    """Writes pages as a GIF with one palette, made from some of them."""
    sample = [np.asarray(page) for page in pages[:: max(1, len(pages) // 6)]]
    palette = Image.fromarray(np.concatenate(sample)).quantize(256)
    pages = [page.quantize(palette=palette, dither=Image.Dither.NONE) for page in pages]
    pages[0].save(
        out, save_all=True, append_images=pages[1:], duration=FRAME_MS, loop=0, optimize=True
    )
    print(f"{out}: {len(pages)} frames, {Path(out).stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    folder = sys.argv[1]
    train(folder)
    draw(embeddings(folder), str(Path(__file__).parent / "assets" / "hero.gif"))
