"""What a run needs of devices and hosts, before there are any: memory, time, decoding."""
