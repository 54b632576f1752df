"""Suites for `python -m avjax.evaluate`: a data set, a protocol, published results."""
