"""The scikit-learn face of the library."""

from ._kmeans import KMeans

__all__ = ["KMeans"]
