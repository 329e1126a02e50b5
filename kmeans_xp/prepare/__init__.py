"""Features made ready for clustering: a check of the columns, and scalers.

>>> from sklearn.datasets import load_wine
>>> from sklearn.pipeline import make_pipeline
>>> from kmeans_xp import KMeans, prepare
>>> wine = load_wine(as_frame=True).data
>>> [name for name, found in prepare.check_features(wine).findings if found.kind == "outweighs"]
['proline']
>>> model = make_pipeline(prepare.FeatureScaler("standard"), KMeans(n_clusters=3, random_state=0))
>>> model.fit_predict(wine).shape
(178,)
"""

from ._check import check_features
from ._report import Feature, FeatureReport, Finding
from ._scalers import FeatureScaler

__all__ = ["Feature", "FeatureReport", "FeatureScaler", "Finding", "check_features"]
