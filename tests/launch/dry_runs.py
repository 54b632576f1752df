"""The dry runs of launch/ that are compared with stored outputs.

python -m tests.launch.dry_runs     # stores them anew; read the difference before a commit
"""

import pathlib
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
GOLDEN = pathlib.Path(__file__).parent / "golden"
TRAIN = "--config configs/avid_kinetics.py --config.data.root=/data/k400 --workdir '/data/a run'"
SWEEP = "--config configs/ablate_negatives.py --workdir /data/negatives"
TPU_VM = "--name avid --zone us-west4-a --runtime v2-alpha-tpuv5-lite"

# Name of the stored file -> arguments.
COMMANDS = {
    "local.txt": f"local.py --processes 2 --devices 2 --port 8476 -- {TRAIN}",
    "slurm.sh": "slurm.py --nodes 4 --gpus_per_node 8 --cpus_per_task 12 --time 24:00:00 "
    f"--option=--partition=gpu --setup 'module load cuda' --cache_dir /data/cache -- {TRAIN}",
    "slurm_cpu.sh": f"slurm.py --run_in 'apptainer exec avjax.sif' --log log.txt -- {TRAIN}",
    "slurm_sweep.sh": f"slurm.py --gpus_per_node 1 --sweep --max_parallel 8 -- {SWEEP}",
    "gke_tpu.yaml": "gke.py --name avid --image avjax:1 --tpu v5e:16x16 --slices 2 --spot "
    f"--queue tpus --volume data:/data --cache_dir /data/cache -- {TRAIN}",
    "gke_gpu.yaml": "gke.py --name avid --image avjax:1 --gpu nvidia-h200-141gb:8 --nodes 4 "
    f"--volume data:/data -- {TRAIN}",
    "gke_sweep.yaml": "gke.py --name negatives --image avjax:1 --tpu v5e:2x2 --sweep "
    f"--volume data:/data -- {SWEEP}",
    "tpu_vm.txt": f"tpu_vm.py train {TPU_VM} --accelerator v5litepod-256 --spot -- {TRAIN}",
    "tpu_vm_slices.txt": f"tpu_vm.py train {TPU_VM} --accelerator v5litepod-256 --slices 2 "
    f"--project mine --option=--reserved -- {TRAIN}",
    "xpk.txt": "xpk.py --name avid --cluster pods --tpu v5litepod-256 --image avjax:1 --slices 2 "
    f"--storage data --option=--zone=us-west4-a -- {TRAIN}",
    "sky.yaml": "sky.py --name avid --accelerators H100:8 --nodes 2 --spot "
    f"--mount /data=gs://bucket -- {TRAIN}",
}  # fmt: skip


def output(arguments: str) -> str:
    """Returns what a dry run prints, with `python` as the interpreter."""
    script, *rest = shlex.split(arguments)
    command = [sys.executable, f"launch/{script}", "--dry_run", *rest]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.replace(sys.executable, "python")


if __name__ == "__main__":
    for name, arguments in COMMANDS.items():
        (GOLDEN / name).write_text(output(arguments))
