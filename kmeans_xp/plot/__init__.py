"""Pictures of a clustering, by the contract of scikit-learn's displays.

``from_estimator`` draws and returns a display; ``plot(ax=None)`` draws again from the data that
it keeps; artists are attributes with a trailing underscore.  Nothing calls ``show``, and
matplotlib (``pip install "kmeans-xp[plot]"``) is loaded when the first picture is drawn.

>>> from sklearn.datasets import load_iris
>>> from kmeans_xp import KMeans, plot
>>> X = load_iris().data
>>> model = KMeans(n_clusters=3, random_state=0).fit(X)
>>> display = plot.ClustersDisplay.from_estimator(model, X)
>>> len(display.scatter_.get_offsets())
150
"""

from ._centers import CentersDisplay
from ._clusters import ClustersDisplay
from ._convergence import ConvergenceDisplay
from ._dendrogram import DendrogramDisplay
from ._elbow import ElbowDisplay
from ._save import save_picture
from ._silhouette import SilhouetteDisplay
from ._sizes import SizesDisplay

__all__ = [
    "CentersDisplay",
    "ClustersDisplay",
    "ConvergenceDisplay",
    "DendrogramDisplay",
    "ElbowDisplay",
    "SilhouetteDisplay",
    "SizesDisplay",
    "save_picture",
]
