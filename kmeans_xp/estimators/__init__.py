"""The scikit-learn face of the library."""

from ._convert import to_sklearn
from ._functions import k_means, kmeans_plusplus
from ._kmeans import KMeans

__all__ = ["KMeans", "k_means", "kmeans_plusplus", "to_sklearn"]
