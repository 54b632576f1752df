#!/usr/bin/env bash
# Runs avjax.main on a worker of a TPU VM, with the arguments given.  What a lost connection left
# running is ended first: it holds the TPU.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -e run.pid ]; then
  earlier=$(cat run.pid)
  if tr '\0' ' ' 2>/dev/null <"/proc/$earlier/cmdline" | grep -q "avjax.main"; then
    kill -TERM "$earlier"
    timeout 60 tail --pid="$earlier" -f /dev/null || kill -KILL "$earlier"
  fi
fi
echo $$ >run.pid
exec .venv/bin/python -m avjax.main "$@"
