"""Speed and memory, always beside a floor measured in the same run.

``python -m benchmarks`` lists the tables. Nothing here asserts a time: machines differ, and
one machine differs from itself an hour later; ratios of interleaved runs are what is left.
"""
