"""Starts a run on Kubernetes (GKE) as a JobSet: slices of a TPU, or nodes with GPUs.

    python launch/gke.py --name avid --image IMAGE --tpu v5e:16x16 --volume data:/data \\
        -- --config configs/avid_kinetics.py --config.data.root=/data/k400 --workdir /data/runs/avid

What stands after -- are arguments of avjax.main.  --dry_run prints the manifest instead of giving
it to kubectl.  A pod that ends with exit code 75 (saved, wants to be started again) or is evicted
restarts the JobSet, without limit; any other failure restarts it --max_restarts times.  The
folders of the data and of the run are on a volume that all pods mount.

With --sweep the arguments are those of avjax.ablate, and each run is one pod with one host.
"""

import argparse
import json
import math
import subprocess
import sys
import textwrap

import flags
import jobset
import sweep

# Values of the label cloud.google.com/gke-tpu-accelerator.
TPUS = {
    "v4": "tpu-v4-podslice",
    "v5e": "tpu-v5-lite-podslice",
    "v5p": "tpu-v5p-slice",
    "v6e": "tpu-v6e-slice",
}
PORT = 8476


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the flags."""
    p = flags.parser(__doc__, "print the manifest; start nothing", "avjax.main")
    add = p.add_argument
    add("--name", required=True, help="name of the JobSet")
    add("--image", required=True, help="container image with avjax and its requirements")
    kind = p.add_mutually_exclusive_group(required=True)
    kind.add_argument("--tpu", metavar="KIND:TOPOLOGY", help=f"e.g. v5e:16x16; {', '.join(TPUS)}")
    kind.add_argument("--gpu", metavar="LABEL:COUNT",
        help="GPUs per node, as GKE names them, e.g. nvidia-h200-141gb:8")  # fmt: skip
    add("--slices", type=int, default=1, metavar="N", help="slices of the TPU (1)")
    add("--nodes", type=int, default=1, metavar="N", help="nodes with GPUs (1)")
    add("--chips_per_host", type=int, default=4, metavar="N", help="of a TPU (4)")
    add("--volume", action="append", default=[], metavar="CLAIM:PATH",
        help="mounts a persistent volume claim; may be repeated")  # fmt: skip
    add("--cache_dir", metavar="DIR", help="folder of compiled programs, on a volume")
    add("--namespace", default="default", help="namespace (default)")
    add("--queue", help="local queue of Kueue")
    add("--spot", action="store_true", help="on spot machines")
    add("--max_restarts", type=int, default=3, metavar="N", help="after failures (3)")
    add("--grace_seconds", type=int, default=120, metavar="S", help="from SIGTERM to SIGKILL (120)")
    add("--sweep", action="store_true", help="an ablation, one pod per run")
    add("--max_parallel", type=int, default=16, metavar="N", help="runs of a sweep at a time (16)")
    return p


def indented(text: str, columns: int) -> str:
    """Returns the text with every line moved to the right."""
    return textwrap.indent(text, " " * columns)


def machines(args: argparse.Namespace) -> tuple[dict[str, str], str, int, int]:
    """Returns (labels of the nodes, resource, devices per host, hosts per slice).

    Raises:
      SystemExit: --tpu or --gpu is not one.
    """
    spot = {"cloud.google.com/gke-spot": "true"} if args.spot else {}
    kind, _, size = (args.tpu or args.gpu).partition(":")
    try:
        if args.gpu:
            return (
                {"cloud.google.com/gke-accelerator": kind} | spot,
                "nvidia.com/gpu",
                int(size),
                args.nodes,
            )
        chips = math.prod(map(int, size.split("x")))
        labels = {
            "cloud.google.com/gke-tpu-accelerator": TPUS[kind],
            "cloud.google.com/gke-tpu-topology": size,
        }
    except (KeyError, ValueError):
        sys.exit(f"{args.tpu or args.gpu}: use e.g. --tpu v5e:16x16 or --gpu nvidia-h200-141gb:8")
    per_host = min(args.chips_per_host, chips)
    return labels | spot, "google.com/tpu", per_host, chips // per_host


def environment(args: argparse.Namespace, hosts: int) -> str:
    """Returns the variables of a pod; a TPU's processes find each other without any."""
    variables = {}
    if args.cache_dir:
        variables |= {
            "JAX_COMPILATION_CACHE_DIR": args.cache_dir,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
    if args.sweep:  # The pods of a sweep are runs of their own.
        variables |= {"AVJAX_COORDINATOR": f"localhost:{PORT}", "AVJAX_PROCESS_ID": "0"}
        variables["AVJAX_PROCESS_COUNT"] = "1"
    elif args.gpu:
        variables["AVJAX_COORDINATOR"] = f"{args.name}-workers-0-0.{args.name}:{PORT}"
        variables["AVJAX_PROCESS_COUNT"] = str(hosts)
    text = '- {name: PYTHONUNBUFFERED, value: "1"}\n'
    for name, value in variables.items():
        text += f"- {{name: {name}, value: {json.dumps(value)}}}\n"
    return text + (jobset.PROCESS_ID if args.gpu and not args.sweep else "")


def pod(args: argparse.Namespace, offset: int) -> str:
    """Returns the template of the pods; the first one of a sweep does run `offset`."""
    labels, resource, devices, hosts = machines(args)
    module = "avjax.ablate" if args.sweep else "avjax.main"
    # Kubernetes replaces $(NAME) unless the dollar is doubled.
    command = ["python", "-m", module, *(word.replace("$(", "$$(") for word in args.arguments)]
    if args.sweep:
        number = f'exec "$@" --run "$$((JOB_COMPLETION_INDEX + {offset}))"'
        command = ["sh", "-c", number, "sh", *command]
    volumes = [volume.partition(":")[::2] for volume in args.volume]
    mounts = [
        f"- {{name: {json.dumps(claim)}, mountPath: {json.dumps(path)}}}\n"
        for claim, path in volumes
    ]
    claims = [
        f"- {{name: {claim}, persistentVolumeClaim: {{claimName: {claim}}}}}\n"
        for claim, _ in ((json.dumps(claim), path) for claim, path in volumes)
    ]
    return jobset.POD.format(
        grace=args.grace_seconds,
        selector="".join(f"    {name}: {json.dumps(value)}\n" for name, value in labels.items()),
        tolerations=jobset.SPOT if args.spot else "",
        image=json.dumps(args.image),
        command=json.dumps(command),
        env=indented(environment(args, hosts), 8),
        resource=resource,
        devices=devices,
        mounts="      volumeMounts:\n" + indented("".join(mounts), 8) if mounts else "",
        volumes="  volumes:\n" + indented("".join(claims), 4) if claims else "",
    )


def jobs(args: argparse.Namespace) -> str:
    """Returns the replicated jobs: the run, or those of a sweep.

    Raises:
      SystemExit: a run of a sweep needs more than one host.
    """
    *_, hosts = machines(args)
    if not args.sweep:
        text = jobset.RUN_JOB.format(slices=args.slices if args.tpu else 1, hosts=hosts)
        return text + indented(pod(args, 0), 8)
    if hosts > 1 or args.slices > 1:
        sys.exit(f"--sweep: a run has one host, not {hosts * args.slices}: use a smaller topology")
    runs, text = sweep.count_runs(args.arguments), ""
    parts = [("select", 1, runs.first)] if runs.first else []
    for name, first, last in [*parts, ("run", runs.first + 1, runs.last)]:
        text += jobset.SWEEP_JOB.format(
            job=name,
            after="  dependsOn: [{name: select, status: Complete}]\n" if first > 1 else "",
            runs=last - first + 1,
            parallel=min(args.max_parallel, last - first + 1),
            restarts=args.max_restarts,
        ) + indented(pod(args, first), 8)
    return text


def manifest(args: argparse.Namespace) -> str:
    """Returns the manifest of the JobSet."""
    queue = (
        f"  labels:\n    kueue.x-k8s.io/queue-name: {json.dumps(args.queue)}\n"
        if args.queue
        else ""
    )
    return jobset.MANIFEST.format(
        name=json.dumps(args.name),
        namespace=json.dumps(args.namespace),
        metadata=queue + (jobset.RUN_METADATA if args.tpu and not args.sweep else ""),
        policy=jobset.SWEEP_POLICY
        if args.sweep
        else jobset.RUN_POLICY.format(restarts=args.max_restarts),
        jobs=indented(jobs(args), 4),
    )


def main(argv: list[str] | None = None) -> int:
    """Gives the manifest to kubectl, or prints it."""
    args = parser().parse_args(argv)
    text = manifest(args)
    if args.dry_run:
        print(text, end="")
        return 0
    return subprocess.run(["kubectl", "apply", "-f", "-"], input=text, text=True).returncode


if __name__ == "__main__":
    sys.exit(main())
