#!/usr/bin/env bash
# Installs avjax on a worker of a TPU VM, in the checkout where it is run.
# Copy this file and change it, e.g. to mount the folders of the data and of the runs, which all
# workers must share; `launch/tpu_vm.py --setup_script FILE` runs the copy instead.
set -euo pipefail

if [ -e .venv/ready ]; then
  exit 0
fi
# The VMs' own Python may be older than 3.11.
python3 -m pip install --quiet --user uv
python3 -m uv venv --quiet --clear --python 3.12 .venv
python3 -m uv pip install --quiet --python .venv/bin/python -r requirements.txt "jax[tpu]==0.10.2"
touch .venv/ready
