"""K-means' relatives: other questions to the same rows, over the same sources, kernels and loop."""

from ._bisecting_kmeans import BisectingKMeans
from ._dbscan import DBSCAN, dbscan
from ._fuzzy_c_means import FuzzyCMeans
from ._hierarchy import centers_linkage, cut_linkage
from ._k_medians import KMedians
from ._k_medoids import KMedoids
from ._spherical_k_means import SphericalKMeans
from ._trimmed_k_means import TrimmedKMeans

__all__ = [
    "DBSCAN",
    "BisectingKMeans",
    "FuzzyCMeans",
    "KMedians",
    "KMedoids",
    "SphericalKMeans",
    "TrimmedKMeans",
    "centers_linkage",
    "cut_linkage",
    "dbscan",
]
