"""SLURM on this machine, from Debian's packages, without an installation and without root.

The packages are unpacked below a folder; one controller and two nodes run as processes of the
caller.  Needs Debian or Ubuntu with `apt-get`, and a network or a folder of packages.
"""

import contextlib
import getpass
import os
import pathlib
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import NamedTuple

PACKAGES = (
    "slurmctld", "slurmd", "slurm-client", "slurm-wlm-basic-plugins", "libhwloc15", "libmunge2",
    "liblua5.1-0",
)  # fmt: skip
REQUEUE_SECONDS = 10
CONFIG = """\
ClusterName=box
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=1,sched_interval=1
ReturnToService=2
KillWait=30
PluginDir={library}/slurm-wlm
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
NodeName=127.0.0.1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1
NodeName=127.0.0.2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1
PartitionName=main Nodes=127.0.0.[1-2] Default=YES State=UP
"""


class Box(NamedTuple):
    """A running SLURM.  environment: variables with which its commands find it."""

    environment: dict[str, str]

    def call(self, *command: str) -> str:
        """Runs a command of SLURM and returns its output."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def job(self, number: str) -> dict[str, str]:
        """Returns what SLURM says of a job."""
        words = self.call("scontrol", "show", "job", "--oneliner", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def signal(self, number: str) -> None:
        """Sends SIGTERM to the processes of a job, as before its time limit.

        For a task of an array scancel may report an error although the signal arrived, and repeat
        it for minutes; whether it arrived is for the caller to see.
        """
        command = ["scancel", "--signal=TERM", self.job(number)["JobId"]]
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(command, env=self.environment, capture_output=True, timeout=5)

    def wait(self, number: str, *states: str, seconds: float = 240) -> dict[str, str]:
        """Waits until a job is in one of the states and returns what SLURM says of it.

        A job that waits for its time after a requeue is told to start now; a little later, as SLURM
        may take the late end of its first start for that of the second.
        """
        end, requeued = time.monotonic() + seconds, None
        while (found := self.job(number))["JobState"] not in states:
            assert time.monotonic() < end, found
            if found["JobState"] == "PENDING" and found["Reason"] == "BeginTime":
                requeued = requeued or time.monotonic()
                if time.monotonic() > requeued + REQUEUE_SECONDS:
                    self.call("scontrol", "update", f"JobId={number}", "StartTime=now")
            time.sleep(0.5)
        return found


def free_ports(count: int) -> list[int]:
    """Returns ports that nothing uses now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def unpack(folder: pathlib.Path) -> pathlib.Path:
    """Unpacks SLURM below a folder; $SLURM_PACKAGES may be a folder of its packages.

    Returns:
      the folder that holds usr/bin and usr/sbin.
    """
    packages, prefix = folder / "packages", folder / "prefix"
    packages.mkdir()
    prefix.mkdir()
    if not (given := os.environ.get("SLURM_PACKAGES")):
        subprocess.run(["apt-get", "download", *PACKAGES], cwd=packages, check=True)
    for file in pathlib.Path(given or packages).glob("*.deb"):
        if file.name.split("_")[0] in PACKAGES:
            subprocess.run(["dpkg", "-x", str(file), str(prefix)], check=True)
    return prefix


@contextlib.contextmanager
def start(folder: pathlib.Path) -> Iterator[Box]:
    """Starts SLURM with two nodes of one core; ends it with the block.

    Their names are addresses, because the names of nodes must be known in the network.
    """
    prefix = unpack(folder)
    (library,) = prefix.glob("usr/lib/*-linux-gnu")
    host = socket.gethostname().split(".")[0]
    config = folder / "slurm.conf"
    config.write_text(
        CONFIG.format(
            host=host, ports=free_ports(3), user=getpass.getuser(), library=library, folder=folder
        )
    )
    (folder / "state").mkdir()
    environment = os.environ | {
        "LD_LIBRARY_PATH": f"{library}{os.pathsep}{library}/slurm-wlm",
        "SLURM_CONF": str(config),
        "PATH": f"{prefix}/usr/bin{os.pathsep}{os.environ['PATH']}",
    }
    step_daemon = f"{prefix}/usr/sbin/slurmstepd-wlm"
    daemons = [
        [f"{prefix}/usr/sbin/slurmctld-wlm", "-c", "-D"],
        *(
            [f"{prefix}/usr/sbin/slurmd-wlm", "-D", "-N", n, "-d", step_daemon]
            for n in ("127.0.0.1", "127.0.0.2")
        ),
    ]
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(open(folder / "daemons.log", "w"))
        for command in daemons:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.terminate)
        box = Box(environment)
        end = time.monotonic() + 60
        command = ["sinfo", "--noheader", "--format=%t %D"]
        while (
            "idle 2"
            not in subprocess.run(command, env=environment, capture_output=True, text=True).stdout
        ):
            assert time.monotonic() < end, (folder / "daemons.log").read_text()
            time.sleep(0.5)
        yield box
