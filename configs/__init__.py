"""The shipped configs: recipes of papers, the synthetic world, ablations; `parts` is common to all.

In Python they are `avjax.configs`.
"""
