#!/bin/bash
#SBATCH --job-name=avjax
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=12
#SBATCH --time=24:00:00
#SBATCH --partition=gpu
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.log
set -euo pipefail
module load cuda

nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
export JAX_COORDINATOR_ADDRESS="${nodes%%$'\n'*}:$((61440 + SLURM_JOB_ID % 4096))"
export JAX_COMPILATION_CACHE_DIR=/data/cache
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0.2
export JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1

# All processes save together: the first to end must not end the others at once.
status=0
srun --kill-on-bad-exit=0 --wait=60 --cpus-per-task=12 \
  python -m avjax.main --config configs/avid_kinetics.py --config.data.root=/data/k400 --workdir '/data/a run' || status=$?

# 75: saved, and wants to be started again.
if [ "$status" -eq 75 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"

# sbatch --parsable < SCRIPT
