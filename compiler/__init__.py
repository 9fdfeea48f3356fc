"""What both compilers stand on: what the C of their kernels says of itself."""
