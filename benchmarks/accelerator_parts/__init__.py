"""The parts of `benchmarks/accelerator.py`: each has `run(add, dry, *args)`.

`add(table, fields)` reports one row of results.  `dry` is for tiny sizes on a CPU.
"""
