#!/bin/bash
#SBATCH --job-name=avjax
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%A_%a.log
set -euo pipefail

nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
export JAX_COORDINATOR_ADDRESS="${nodes%%$'\n'*}:$((61440 + SLURM_JOB_ID % 4096))"

# All processes save together: the first to end must not end the others at once.
status=0
srun --kill-on-bad-exit=0 --wait=60 \
  python -m avjax.ablate --config configs/ablate_negatives.py --workdir /data/negatives --run "$SLURM_ARRAY_TASK_ID" || status=$?

# 75: saved, and wants to be started again.
if [ "$status" -eq 75 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"

# sbatch --parsable --array=1-9%8 < SCRIPT
# sbatch --parsable --array=10-78%8 --dependency=afterok:JOB < SCRIPT
