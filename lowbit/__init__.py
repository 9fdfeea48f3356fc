"""Low-bit networks as integers: exact rules, kernels and their layouts, C.

Imports nothing of `train`.
"""
