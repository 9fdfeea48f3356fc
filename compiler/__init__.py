"""What both compilers stand on: graphs of operators, kernels and their choice, memory, traces, C.

A front end, `lowbit` or `tinyengine`, lowers its networks to a `graph.Graph` of steps and has a
table of `operators.Row`s that says what each step computes and which kernels can execute it.
Imports nothing of the front ends.
"""
