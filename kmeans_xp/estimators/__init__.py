"""The scikit-learn face of the library."""

from ._batched import BatchedKMeansResult, k_means_batched
from ._convert import to_sklearn
from ._functions import k_means, kmeans_plusplus
from ._kmeans import KMeans
from ._minibatch import MiniBatchKMeans

__all__ = [
    "BatchedKMeansResult",
    "KMeans",
    "MiniBatchKMeans",
    "k_means",
    "k_means_batched",
    "kmeans_plusplus",
    "to_sklearn",
]
