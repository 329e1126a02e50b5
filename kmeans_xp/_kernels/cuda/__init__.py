"""The CUDA kernel: its sources, and the Python that compiles, launches and routes them."""
