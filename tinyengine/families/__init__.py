"""The operators of TensorFlow Lite by family, each with all that is known of it."""
