#!/bin/bash
#SBATCH --job-name=avjax
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=log.txt
set -euo pipefail

nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
export JAX_COORDINATOR_ADDRESS="${nodes%%$'\n'*}:$((61440 + SLURM_JOB_ID % 4096))"

# All processes save together: the first to end must not end the others at once.
status=0
srun --kill-on-bad-exit=0 --wait=60 \
  apptainer exec avjax.sif python -m avjax.main --config configs/avid_kinetics.py --config.data.root=/data/k400 --workdir '/data/a run' || status=$?

# 75: saved, and wants to be started again.
if [ "$status" -eq 75 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"

# sbatch --parsable < SCRIPT
