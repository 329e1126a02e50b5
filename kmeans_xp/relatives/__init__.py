"""K-means' relatives: other questions to the same rows, over the same sources, kernels and loop."""

from ._bisecting_kmeans import BisectingKMeans
from ._dbscan import DBSCAN, dbscan
from ._hierarchy import centers_linkage, cut_linkage
from ._k_medians import KMedians
from ._k_medoids import KMedoids

__all__ = [
    "DBSCAN",
    "BisectingKMeans",
    "KMedians",
    "KMedoids",
    "centers_linkage",
    "cut_linkage",
    "dbscan",
]
