"""A compiler from int8 TensorFlow Lite models to C with memory planned at compile time.

Stages, each a module: importer -> lowering -> pruning, then those of `compiler`, then emission.
"""
