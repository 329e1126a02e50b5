"""
Iris and wine: from table to picture
====================================

Two tables that come with scikit-learn, 150 flowers with 4 features and 178 wines with 13, are
taken all the way: check the features, choose *k*, fit, draw.  The species and the growers are
known, but k-means does not see them; at the end they tell how well it did.
"""

import warnings

import matplotlib.pyplot as plt
from sklearn.datasets import load_iris, load_wine
from sklearn.pipeline import make_pipeline

from kmeans_xp import (
    DataWarning,
    FeatureScaler,
    KMeans,
    check_features,
    choose_k,
    metrics,
)
from kmeans_xp.plot import CentersDisplay, ClustersDisplay, ElbowDisplay, SilhouetteDisplay

iris, wine = load_iris(), load_wine()

# %%
# Check the features
# ------------------
# Distances add up over the features, so one with a large spread decides alone.  The flowers are
# measured in centimetres throughout, and nothing outweighs anything.

found = check_features(iris.data, names=iris.feature_names)
assert not found.findings
print(found)

# %%
# Of the wines, proline does.  So the wines are scaled, and the flowers stay as they are.

print(check_features(wine.data, names=wine.feature_names))

# %%
# Choose k: the flowers
# ---------------------
# ``choose_k`` fits a range of k.  First of all it tells whether there is any structure, then what
# several criteria suggest; they need not agree.

choice = choose_k(iris.data, 8, random_state=0)
assert set(choice.suggestions.values()) == {2, 3, 8}
print(choice)
_ = ElbowDisplay.from_result(choice)

# %%
# Two of the three species overlap, so that there is a case for 2 and a case for 3.
#
# Choose k: the wines
# -------------------
# As they are, proline makes the distances: one long stretch of rows, which clusters divide no
# better than they divide uniform rows.  ``choose_k`` warns of it.

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    unscaled = choose_k(wine.data, 8, random_state=0)
assert [item.category for item in caught] == [DataWarning]
assert not unscaled.has_structure
print(f"{caught[0].message}\n")
print(unscaled.structure)

# %%
# Scaled, they have a structure.  The knee and Calinski-Harabasz are at 3, the simplified silhouette
# and Davies-Bouldin at 6; BIC rises to the end of the range.

X_wine = FeatureScaler("standard").fit_transform(wine.data)
choice = choose_k(X_wine, 8, random_state=0)
assert choice.has_structure
assert list(choice.suggestions.values()) == [3, 3, 6, 6, 8]
print(choice)
_ = ElbowDisplay.from_result(choice)

# %%
# Fit
# ---
# We take 3 for both, the numbers of species and growers.  A pipeline keeps the scaler with the
# model: it takes rows in the units of the table.

flowers = KMeans(n_clusters=3, n_init=10, random_state=0).fit(iris.data)
scaled = FeatureScaler("standard")
wines = make_pipeline(scaled, KMeans(n_clusters=3, n_init=10, random_state=0)).fit(wine.data)

# %%
# Draw
# ----
# More than two features go through a PCA.  The lower row has the silhouettes: how much nearer each
# row is to its own cluster than to the next.

fig, axes = plt.subplots(2, 2, figsize=(12, 9), layout="constrained")
for (above, below), model, table in zip(axes.T, (flowers, wines), (iris, wine), strict=True):
    ClustersDisplay.from_estimator(model, table.data, ax=above)
    SilhouetteDisplay.from_estimator(model, table.data, ax=below)

# %%
# What the clusters are is told by their centers, in the units of the table: those of the wines are
# taken back through the scaler.

fig, axes = plt.subplots(1, 2, figsize=(11, 5), layout="constrained", width_ratios=(1, 1.1))
for ax, model, table in zip(axes, (flowers, wines), (iris, wine), strict=True):
    CentersDisplay.from_estimator(model, feature_names=table.feature_names, ax=ax)

# %%
# How well did it do?
# -------------------
# The adjusted Rand index is 1 where the clusters are the species or the growers, and about 0 where
# they have nothing to do with them.

for name, model, table in (("iris", flowers, iris), ("wine", wines, wine)):
    agreement = metrics.adjusted_rand_score(table.target, model.predict(table.data))
    print(f"{name}: {agreement:.3f}")

# %%
# From a shell, the wines are four commands:
#
# .. code-block:: sh
#
#    kmeans-xp check --example wine
#    kmeans-xp elbow --example wine --scale standard --k-max 8 --seed 0 --plot elbow.png
#    kmeans-xp fit --example wine --scale standard --n-clusters 3 --seed 0 --out wine-clusters
#    kmeans-xp plot --example wine --model wine-clusters/model.npz --out pictures
