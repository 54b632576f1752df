"""No file can stop avjax, or make it read what it was not given."""

import http.server
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from typing import NamedTuple

import av
import cv2
import numpy as np
import pytest

from avjax.data import clip_sampling, pipeline
from avjax.data.media import video as media_video
from avjax.data.source import Source
from tests.data import bombs, matrix, writing
from tests.data.media.test_video import SIZE, fails, number, numbered

SECRET = 170  # The number of all pictures of the film outside the root.
EVEN = clip_sampling.uniform(8, 16, 2.0, 24000, num_clips=1)
HEARD = clip_sampling.uniform(0, 16, 2.0, 24000, num_clips=1)


class World(NamedTuple):
    root: pathlib.Path
    files: dict  # name -> matrix.File
    secret: str  # A film outside the root.
    url: str  # Of a server on this machine that would give that film.
    asked: list  # What it was asked for.


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root, outside = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("outside")
    secret, asked = str(outside / "secret.mp4"), []
    writing.media(secret, [numbered(SECRET)] * 60)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(pathlib.Path(secret).read_bytes())

        def log_message(self, *said):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/secret.mp4"
    yield World(root, matrix.files(str(root), url, secret), secret, url, asked)
    server.shutdown()
    server.server_close()


def source(world):
    records = ({"path": str(world.root / name), "label": 0} for name in world.files)
    return Source("hostile", tuple(records))


def fit(clip, rng):
    """Pictures of any size -> of one, and what size they had."""
    if "video" not in clip:
        return clip
    size = np.array(clip["video"].shape[1:3])
    small = [cv2.resize(image, SIZE[::-1], interpolation=cv2.INTER_AREA) for image in clip["video"]]
    return clip | {"video": np.stack(small), "size": size}


def evaluated(world, sampler):
    """({name: clip}, {name: reason}) of all files, by way of the pipeline."""
    given, refused, data = {}, {}, source(world)
    names = list(world.files)

    def on_error(path, reason):
        refused[os.path.basename(path)] = reason

    for batch in pipeline.eval_batches(data, sampler, [fit], 8, on_error=on_error):
        for row in np.flatnonzero(batch["mask"]):
            given[names[batch["index"][row]]] = {name: batch[name][row] for name in batch}
    return given, refused


@pytest.fixture(scope="module")
def seen(world):
    return evaluated(world, EVEN)


@pytest.fixture(scope="module")
def heard(world):
    return evaluated(world, HEARD)


def peak(wave):
    return np.abs(wave.astype(int)).argmax() / 24000


def starts(world, name):
    """Where the clip of EVEN begins in a file: its picture and its sound, in seconds."""
    with media_video.open_media(world.root / name) as media:
        return EVEN.sample(media.info, None)[0]


def test_every_file_of_the_matrix_gives_clip_or_reason(world, seen, heard):
    assert len(world.files) >= 60
    for given, refused in (seen, heard):
        assert given.keys() | refused.keys() == world.files.keys()
        assert not given.keys() & refused.keys() and all(refused.values())


def test_valid_files_give_their_clip(world, seen):
    given, refused = seen
    films = {n: f for n, f in world.files.items() if f.size and not f.refused and not f.either}
    assert len(films) >= 40
    for name, file in films.items():
        assert name in given, (name, refused[name])
        clip, (picture, sound) = given[name], starts(world, name)
        assert tuple(clip["size"]) == file.size, name
        if file.shown:
            want = [file.shown(picture + i / 16) for i in range(8)]
            assert [number(image) for image in clip["video"]] == want, name
        if file.click is not None:
            assert abs(sound + peak(clip["audio"]) - file.click) < 0.003, name


def test_audio_only_file_gives_audio_and_no_video(world, seen, heard):
    names = [n for n, f in world.files.items() if f.size is None and not f.refused and not f.either]
    assert len(names) >= 15
    for name in names:
        assert seen[1][name] == "has no video", name
        click = world.files[name].click
        if click is not None:
            with media_video.open_media(world.root / name) as media:
                _, start = HEARD.sample(media.info, None)[0]
                # Some formats of sound alone have a clock of their own.
                start -= media.info.audio_start
            assert abs(start + peak(heard[0][name]["audio"]) - click) < 0.003, name
    assert not heard[0]["not_a_number.wav"]["audio"].any()


def test_invalid_files_are_refused_with_reason(world, seen, heard):
    bad = {name: file.refused for name, file in world.files.items() if file.refused}
    assert len(bad) >= 30
    for name, text in bad.items():
        reasons = seen[1] if world.files[name].size else heard[1]
        assert re.search(text, reasons.get(name, "gave a clip")), (name, reasons.get(name))


def test_training_continues_past_invalid_files(world):
    data, named = source(world), {}
    sampler, stop = clip_sampling.random(8, 16, 2.0, 24000), len(data) // 16
    given = set()
    for batch in pipeline.train_batches(
        data, sampler, [fit], 16, 0, stop=stop, max_unreadable=1.0, on_error=named.setdefault
    ):
        assert batch["video"].shape == (16, 8, *SIZE, 3) and batch["mask"].all()
        given |= set(batch["index"].tolist())
    names = list(world.files)
    assert {names[row] for row in given}.isdisjoint(
        name for name, file in world.files.items() if file.refused
    )
    broken = {os.path.basename(path) for path in named}
    good = {name for name, f in world.files.items() if f.size and not f.refused and not f.either}
    assert broken & good == {"no_audio.mp4", "million.mov"}  # Both silent.


def test_frame_far_from_key_frame_is_refused(world):
    path = world.root / "million_one_key.mov"
    with media_video.open_media(path) as media, fails("more than 20000 packets"):
        media_video.read_frames(media, 39_000.0, 8, 16)


def test_no_network_request_is_made(world, seen):
    asked = len(world.asked)
    for address in (world.url, f"http:{world.url[5:]}", f"cache:{world.url}", f"async:{world.url}"):
        with fails("No such file"), media_video.open_media(address):
            pass
    assert not world.asked[:asked] and len(world.asked) == asked == 0
    urllib.request.urlopen(world.url).close()  # The server does listen.
    assert world.asked.pop() == "/secret.mp4"


def test_playlists_work_in_plain_ffmpeg_and_are_refused_here(world, seen):
    with av.open(str(world.root / "concat_beside.mp4")) as file:  # They are no mere nonsense.
        assert next(file.decode(video=0)).width == SIZE[1]
    with av.open(str(world.root / "concat_absolute.mp4"), options={"safe": "0"}) as file:
        assert number(next(file.decode(video=0)).to_ndarray(format="rgb24")) == SECRET
    with av.open(
        str(world.root / "elsewhere.mov"), options={"enable_drefs": "1", "use_absolute_path": "1"}
    ) as file:
        assert next(file.decode(video=0)).to_ndarray(format="rgb24").any()
    for name in bombs.playlists(world.url, world.secret):
        assert "Invalid" in seen[1][name], name


def test_no_file_outside_root_is_read(seen):
    for name, clip in seen[0].items():
        assert SECRET not in [number(image) for image in clip["video"]], name


CHILD = """
import resource, sys
from avjax.data.media import video as media_video
from benchmarks import fuzz
fuzz.clip(sys.argv[1])  # What is imported late is now there.
base = 1024 * next(int(line.split()[1]) for line in open("/proc/self/status") if "VmSize" in line)
resource.setrlimit(resource.RLIMIT_AS, (base + 2**30,) * 2)
print("begin", flush=True)
for path in sys.argv[1:]:
    try:
        fuzz.clip(path)
        print("clip", flush=True)
    except media_video.MediaError as error:
        print("skip", flush=True)
print(next(line.split()[1] for line in open("/proc/self/status") if "VmHWM" in line))
"""


def child(paths, *before):
    """What a process of its own, in 1 GB, makes of files: its words, and its memory in kB."""
    command = [*before, sys.executable, "-c", CHILD, *map(str, paths)]
    env = os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parents[2])}
    done = subprocess.run(command, text=True, capture_output=True, timeout=300, env=env)
    assert done.returncode == 0, done.stderr
    _, *said, memory = done.stdout.split()
    return said, int(memory)


def test_decompression_bombs_are_refused_in_bounded_memory(world, tmp_path):
    bombs.pictures(tmp_path / "allowed.mov", "png", bombs.png(4096), 64, count=10)
    bombs.movie(tmp_path / "extra.mov", 9, extra=bombs.atom(b"glbl", bytes(2**28)))
    names = [name for name in bombs.files(world.secret, matrix.File) if name in world.files]
    paths = [world.root / name for name in ("plain.mp4", *names)] + list(tmp_path.iterdir())
    said, memory = child(paths)
    assert len(said) == len(paths) and memory < 2**20
    for path, what in zip(paths, said):
        if path.parent == world.root and world.files[path.name].refused:
            assert what == "skip", path


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_no_other_file_is_opened(world, tmp_path):
    paths, log = [str(world.root / name) for name in world.files], tmp_path / "log"
    calls = "trace=open,openat,openat2,connect,write"
    child(paths, "strace", "-f", "-s", "300", "-e", calls, "-o", str(log))
    lines = log.read_text().split('"begin', 1)[1].splitlines()
    calls = (re.search(r'open(?:at2?)?\([^"]*"([^"]*)"', line) for line in lines)
    system = ("/proc/self/", "/usr/lib")  # The C library's tables of characters.
    opened = {call[1] for call in calls if call and not call[1].startswith(system)}
    assert opened == set(paths)  # The secret is none of them.
    assert not [line for line in lines if "connect(" in line]
