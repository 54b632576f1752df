"""CCL and the methods that it is compared with, small, on the synthetic world.

python -m avjax.main --config configs/ccl_world.py --workdir runs/ccl_world

`configs/ccl_world.py:METHOD-MODE` as in configs/ccl_ucf51.py.  A chain: `audio` and `image` are the
teachers, classifiers of the sounds and of single frames; `student` sees clips of video and learns
from both, or from the one of the mode.  Each stage has its share of config.steps.
"""

from avjax.configs import ccl_ucf51, parts, world

CLASSES = 12
# Fewer negatives than the world has records, 480.
SMALL = dict(crd=dict(num_negatives=256), cmc=dict(num_negatives=256))


def get_config(method="ccl-ai"):
    loss, names = parts.choose(ccl_ucf51.METHODS, method)
    c = world.base()
    each = (c.get_ref("steps") + len(names)) // (1 + len(names))
    train, test = (world.source(split, n) for split, n in (("train", 480), ("test", 240)))
    c.data = dict(train=clips(train))
    c.evals = accuracy(test, world.CLIP)
    towers = {
        "audio": one_tower("audio", world.TOWERS["encoders"]["audio"]),
        "image": one_tower("video", dict(fn="avjax.nets.image.resnet.ResNet2D", depth=10, width=8)),
        "video": one_tower("video", world.TOWERS["encoders"]["video"]),
    }
    c.method = student(loss, names, towers)
    c.optimizer = world.warmup_cosine(each)
    frame = dict(num_frames=1)
    teachers = {
        "audio": dict(method=classifier(towers["audio"])),
        "image": dict(
            method=classifier(towers["image"]),
            data=dict(train=clips(train, **frame)),
            evals=accuracy(test, world.CLIP | frame),
        ),
    }
    stages = {name: teachers[name] | dict(steps=each) for name in names}
    after = {name: ccl_ucf51.teacher_weights(name, "")["paths"] for name in names}
    c.stages = stages | {"student": dict(after=after, steps=each)}
    return c


def student(loss, names, towers) -> dict:
    """Returns config.method of the student."""
    makers = {"audio": "avjax.nets.teachers.net", "image": "avjax.nets.teachers.frame_net"}
    teachers = {
        name: dict(fn=makers[name], model=towers[name], num_classes=CLASSES) for name in names
    }
    own = SMALL.get(loss, {})
    return ccl_ucf51.method_of(loss, towers["video"], teachers, CLASSES, **own)


def classifier(model) -> dict:
    return dict(fn="avjax.methods.classify", model=model, num_classes=CLASSES)


def one_tower(modality, encoder) -> dict:
    """Returns the tower of one modality of the world, without a head."""
    frontend = world.TOWERS["frontends"][modality]
    return ccl_ucf51.tower(modality, frontend, encoder)


def clips(source, **changes) -> dict:
    """Returns a data set of random clips, with video and audio of the same time."""
    how = world.CLIP | changes
    train = parts.train_clips(source, **how, min_area=0.8, color_jitter=0.1, hue=0.0)
    return parts.apply_on_host(train, world.PIXELS)


def accuracy(source, clip) -> dict:
    """Returns config.evals: accuracy over two clips of each video."""
    data = parts.apply_on_host(parts.eval_clips(source, **clip, num_clips=2), world.PIXELS)
    return dict(world=dict(fn="avjax.evals.video_accuracy", data=data))
