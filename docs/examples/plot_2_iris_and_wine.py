"""
Iris and wine: from table to picture
====================================

Two tables that come with scikit-learn, 150 flowers with 4 features and 178 wines with 13, are
taken all the way: look at the features, choose *k*, fit, draw.  The species and the growers are
known, but k-means does not see them; at the end they tell how well it did.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from kmeans_xp import DataWarning, KMeans, metrics

COLORS = np.array(["#0072B2", "#E69F00", "#009E73"])
MARKERS = "os^"

iris, wine = load_iris(), load_wine()

# %%
# Look at the features
# --------------------
# Distances add up over the features, so a feature with a large spread decides alone.  The flowers
# are measured in centimetres throughout.  Of the wines one feature, proline, spreads more than
# twenty times as widely as any other:

fig, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for ax, table, title in zip(axes, (iris, wine), ("iris", "wine"), strict=True):
    names = [name.replace("_", " ") for name in table.feature_names]
    ax.barh(names, table.data.std(axis=0), color=COLORS[0])
    ax.set(xlabel="standard deviation", title=title)
    ax.invert_yaxis()

# %%
# So the wines are scaled to one spread, and the flowers stay as they are.

X_iris = iris.data
X_wine = StandardScaler().fit_transform(wine.data)

# %%
# Choose k
# --------
# WCSS falls with every further cluster; where the fall flattens (the "elbow"), further clusters
# only divide groups.  The silhouette says how much nearer rows are to their own cluster than to
# the next, and has a peak.

counts = range(2, 9)
fig, axes = plt.subplots(2, 2, figsize=(9, 5.5), layout="constrained", sharex=True)
for column, X, title in zip(axes.T, (X_iris, X_wine), ("iris", "wine, scaled"), strict=True):
    models = [KMeans(k, n_init=10, random_state=0).fit(X) for k in counts]
    column[0].plot(counts, [model.inertia_ for model in models], "o-", color=COLORS[0])
    column[0].set(title=title, ylabel="WCSS")
    scores = [metrics.silhouette_score(X, model.labels_) for model in models]
    column[1].plot(counts, scores, "s-", color=COLORS[1])
    column[1].set(ylabel="silhouette", xlabel="k")

# %%
# For the wines both say 3.  For the flowers the silhouette says 2 and the elbow lies at 2 or 3: two
# of the three species overlap.  We take 3 for both.
#
# Fit
# ---

fits = {
    "iris": (X_iris, KMeans(n_clusters=3, n_init=10, random_state=0).fit(X_iris), iris),
    "wine": (X_wine, KMeans(n_clusters=3, n_init=10, random_state=0).fit(X_wine), wine),
}
for name, (_, model, table) in fits.items():
    agreement = metrics.adjusted_rand_score(table.target, model.labels_)
    sizes = np.bincount(model.labels_)
    print(f"{name}: sizes {sizes}, WCSS {model.inertia_:.2f}, adjusted Rand index {agreement:.3f}")

# %%
# Without scaling, the wines are divided by proline, and agree with the growers far less.
# ``KMeans`` warns of such a column:

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DataWarning)
    raw = KMeans(n_clusters=3, n_init=10, random_state=0).fit(wine.data)
print(f"wine, not scaled: {metrics.adjusted_rand_score(wine.target, raw.labels_):.3f}")

# %%
# Draw
# ----
# The two directions of largest spread, found by PCA, show most of what there is.  Points in rings
# have a class that is not the commonest one of their cluster.

fig, axes = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
for ax, (name, (X, model, table)) in zip(axes, fits.items(), strict=True):
    plane = PCA(2).fit(X)
    points, centers = plane.transform(X), plane.transform(model.cluster_centers_)
    commonest = np.array([np.bincount(table.target[model.labels_ == c]).argmax() for c in range(3)])
    for cluster in range(3):
        mine = points[model.labels_ == cluster]
        ax.scatter(
            *mine.T,
            s=20,
            c=COLORS[cluster],
            marker=MARKERS[cluster],
            alpha=0.7,
            lw=0,
            label=f"cluster {cluster}: mostly {table.target_names[commonest[cluster]]}",
        )
    strays = points[table.target != commonest[model.labels_]]
    ax.scatter(*strays.T, s=60, fc="none", ec="black", lw=0.8, label="of another class")
    ax.scatter(*centers.T, s=170, c="black", marker="X", ec="white", lw=1.5, label="centers")
    ax.set(title=name, xlabel="first principal axis", ylabel="second principal axis")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False, fontsize=8)

# %%
# What the clusters are
# ---------------------
# Centers in the units of the table are read most easily; those of the wines are scaled back.

for feature, values in zip(iris.feature_names, fits["iris"][1].cluster_centers_.T, strict=True):
    print(f"{feature:>20}", *(f"{value:7.2f}" for value in values))

# %%
# The same from a shell, with a report and files to keep:
#
# .. code-block:: sh
#
#    kmeans-xp fit --example iris --n-clusters 3 --seed 0 --out iris-clusters
