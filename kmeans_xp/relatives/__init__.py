"""K-means' relatives: other questions to the same rows, over the same sources, kernels and loop."""

from ._bisecting_kmeans import BisectingKMeans
from ._hierarchy import centers_linkage, cut_linkage

__all__ = [
    "BisectingKMeans",
    "centers_linkage",
    "cut_linkage",
]
