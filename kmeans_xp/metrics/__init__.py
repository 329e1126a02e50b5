"""Scores of a clustering, on the arrays of any library and where they are.

The names and results are those of `sklearn.metrics`, to rounding; `centroid_index` compares two
sets of centers.

>>> from sklearn.datasets import load_iris
>>> from kmeans_xp import KMeans, metrics
>>> X, species = load_iris(return_X_y=True)
>>> labels = KMeans(n_clusters=3, random_state=0).fit_predict(X)
>>> round(metrics.silhouette_score(X, labels), 4)
0.5528
>>> round(metrics.adjusted_rand_score(species, labels), 4)
0.7302
"""

from ._agreement import adjusted_rand_score, normalized_mutual_info_score
from ._centroid_index import centroid_index
from ._dispersion import calinski_harabasz_score, davies_bouldin_score
from ._silhouette import silhouette_samples, silhouette_score

__all__ = [
    "adjusted_rand_score",
    "calinski_harabasz_score",
    "centroid_index",
    "davies_bouldin_score",
    "normalized_mutual_info_score",
    "silhouette_samples",
    "silhouette_score",
]
