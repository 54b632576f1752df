"""What a run stands on: devices, checkpoints, files, signals, what is logged."""
