"""What a process finds out about its cluster from flags and variables."""

import http.server
import threading

import pytest

from avjax.runtime import cluster, cluster_tpu

SLURM = {
    "SLURM_JOB_ID": "5000", "SLURM_STEP_NODELIST": "gpu[003-004]", "SLURM_NTASKS": "16",
    "SLURM_PROCID": "9", "SLURM_LOCALID": "1", "SLURM_STEP_TASKS_PER_NODE": "8(x2)",
}  # fmt: skip
OMPI = {
    "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}  # fmt: skip
OWN = {"AVJAX_COORDINATOR": "a:1", "AVJAX_PROCESS_ID": "1", "AVJAX_PROCESS_COUNT": "3"}
GKE = {"TPU_WORKER_HOSTNAMES": "t0,t1", "TPU_WORKER_ID": "1"}
SLICES = {
    "MEGASCALE_NUM_SLICES": "2", "MEGASCALE_SLICE_ID": "1",
    "MEGASCALE_COORDINATOR_ADDRESS": "s0:8080",
}  # fmt: skip


@pytest.mark.parametrize(
    "environ,want",
    [
        ({}, None),
        (SLURM, ("gpu003:62344", 9, 16, (1, 8))),
        (SLURM | {"JAX_COORDINATOR_ADDRESS": "n:7"}, ("n:7", 9, 16, (1, 8))),
        (SLURM | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, None),
        ({k: v for k, v in SLURM.items() if k != "SLURM_STEP_NODELIST"}, None),  # No srun.
        (OMPI | {"JAX_COORDINATOR_ADDRESS": "n:7"}, ("n:7", 3, 4, (1, 2))),
        (OMPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, ("localhost:8476", 3, 4, (1, 4))),
        (OWN, ("a:1", 1, 3, None)),
        (OWN | {"AVJAX_PROCESS_COUNT": "1", "AVJAX_PROCESS_ID": "0"}, None),
        (SLURM | {"AVJAX_COORDINATOR": "b:2"}, ("b:2", 9, 16, (1, 8))),
        (SLURM | {"AVJAX_PROCESS_COUNT": "1"}, None),  # Each task is a run of its own.
        (GKE, ("t0:8482", 1, 2, None)),
        (GKE | SLICES, ("s0:8482", 3, 4, None)),
        (GKE | {"TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"}, None),
        (GKE | {"JAX_PLATFORMS": "cpu"}, None),
    ],
)
def test_variables(environ, want):
    found = cluster.detect(environ=environ)
    assert (found and (*found[:3], found.local)) == want


def test_pods_of_a_job_are_numbered_by_their_index():
    pod = {"KUBERNETES_SERVICE_HOST": "k", "JOB_COMPLETION_INDEX": "2"}
    with pytest.raises(ValueError, match="set AVJAX_PROCESS_COUNT"):
        cluster.detect(environ=pod)
    more = pod | {"AVJAX_COORDINATOR": "a:1", "AVJAX_PROCESS_COUNT": "4"}
    assert cluster.detect(environ=more)[:3] == ("a:1", 2, 4)
    assert cluster.detect(environ=pod | {"AVJAX_PROCESS_COUNT": "1"}) is None


def test_flags_come_before_variables():
    assert cluster.detect("c:9", "0", "2", environ=OWN)[:3] == ("c:9", 0, 2)


@pytest.mark.parametrize(
    "flags,message",
    [
        (("a:1", None, "2"), r"--process_id \(or AVJAX_PROCESS_ID\) is missing"),
        (("a:1", "2", "2"), "--process_id=2: use 0 to 1"),
        (("a:1", "x", "2"), "--process_id=x .*: use an integer from 0"),
        (("a:1", "0", "0"), "--process_count=0 .*: use an integer from 1"),
        (("a", "0", "2"), "--coordinator=a .*: use HOST:PORT"),
        (("a:99999", "0", "2"), "use HOST:PORT"),
    ],
)
def test_wrong_flags(flags, message):
    with pytest.raises(ValueError, match=message):
        cluster.detect(*flags, environ={})


def test_open_mpi_on_several_machines_needs_an_address():
    with pytest.raises(ValueError, match="mpirun -x AVJAX_COORDINATOR"):
        cluster.detect(environ=OMPI)
    assert cluster.detect(environ=OMPI | {"AVJAX_COORDINATOR": "a:1"})[:3] == ("a:1", 3, 4)


@pytest.mark.parametrize(
    "nodes,first",
    [("n1", "n1"), ("n1,m[2-3]", "n1"), ("n[07-09,12],m", "n07"), ("r[1-2]-ib", "r1-ib")],
)
def test_first_node(nodes, first):
    assert cluster.first_node(nodes) == first


def test_processes_of_a_machine_share_its_gpus():
    eight = {"CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7"}
    assert cluster.visible_devices((3, 8), eight) == [3]
    assert cluster.visible_devices((1, 2), eight) == [4, 5, 6, 7]
    assert cluster.visible_devices((0, 1), eight) is None
    assert cluster.visible_devices((3, 8), {"CUDA_VISIBLE_DEVICES": "3"}) is None
    with pytest.raises(ValueError, match="8 GPUs cannot be divided among 3"):
        cluster.visible_devices((0, 3), eight)


def test_workers_of_a_tpu_vm_come_from_its_metadata(monkeypatch):
    answers = {
        "agent-worker-number": "1",
        "worker-network-endpoints": "x:0:10.0.0.1,x:1:10.0.0.2",
        "tpu-env": "ZONE: 'z'\nMEGASCALE_NUM_SLICES: '2'\nMEGASCALE_SLICE_ID: '1'\n"
        "MEGASCALE_COORDINATOR_ADDRESS: '10.0.0.9'",
    }

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            found = answers.get(self.path.rpartition("/")[2])
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write((found or "").encode())

        def log_message(self, *args):
            pass

    monkeypatch.setattr(cluster_tpu, "chips", lambda: ["TPU v5e"] * 4)
    with http.server.HTTPServer(("localhost", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environ = {"GCE_METADATA_IP": f"localhost:{server.server_port}"}
        assert cluster.detect(environ=environ)[:3] == ("10.0.0.9:8482", 3, 4)
        del answers["tpu-env"]
        assert cluster.detect(environ=environ)[:3] == ("10.0.0.1:8482", 1, 2)
        answers["worker-network-endpoints"] = "alone"
        answers["agent-worker-number"] = "0"
        assert cluster.detect(environ=environ) is None
        assert cluster.detect(environ=environ | {"TPU_SKIP_MDS_QUERY": "1"}) is None
        server.shutdown()
    monkeypatch.setattr(cluster_tpu, "ATTEMPTS", 1)
    with pytest.raises(ValueError, match="metadata server .* does not answer"):
        cluster.detect(environ={"GCE_METADATA_IP": "localhost:1"})
