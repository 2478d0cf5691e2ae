"""The commands of `mmn`, one module each: its arguments, and a call of what does the work.

A module has its help as docstring, `add_arguments(parser)` and `run(args)`. Its first lines import nothing that takes
time: PyTorch and the rest are imported by `run`, so that `--help` and a wrong argument are answered at once. The files in
tools/ are the same commands for a checkout that is not installed.
"""
