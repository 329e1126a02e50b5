"""
k-means from scratch
====================

The algorithm has five steps:

1. choose the number of clusters *k*, and *k* starting centers;
2. assign each point to the nearest center;
3. make each center the mean of its points;
4. repeat 2 and 3 until no point changes its cluster;
5. judge the result by its WCSS, the within-cluster sum of squares, and start again from other
   centers, since the end depends on the start.

Here they are taken one at a time, with the parts that the library itself is made of.  These parts
are its private modules, shown to be looked at; for work there is :class:`kmeans_xp.KMeans`, and
below it gives the same centers to the last bit.
"""

# %%
# The rows
# --------
# Four groups of points in the plane, so that everything can be seen.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_blobs, make_moons

from kmeans_xp import KMeans
from kmeans_xp._distances import Scale
from kmeans_xp._exact import Grid, exponent_above, means, one_word, quantise
from kmeans_xp._picks import group_sums
from kmeans_xp._primitives import Nearest, own_distances, settle

X, _ = make_blobs(200, centers=[[0, 0], [5, 0], [0, 5], [5, 5]], cluster_std=0.9, random_state=7)

COLORS = np.array(["#0072B2", "#E69F00", "#009E73", "#CC79A7"])
MARKERS = "os^D"


def draw(ax, X, labels, centers, title):
    """Points by cluster, in a color and a marker each, under their centers."""
    for cluster in range(len(centers)):
        mine = X[labels == cluster]
        ax.scatter(*mine.T, s=16, c=COLORS[cluster], marker=MARKERS[cluster], alpha=0.6, lw=0)
    ax.scatter(*centers.T, s=170, c="black", marker="X", ec="white", lw=1.5, zorder=3)
    ax.set(title=title, xticks=[], yticks=[], aspect="equal")


# %%
# Step 1: choose k and starting centers
# -------------------------------------
# Four clusters; for centers, four rows drawn at random.  (Some texts begin by giving every point a
# random cluster, and take the means: ``init="random-partition"``.)

k = 4


def draw_rows(X, k, seed):
    return X[np.random.default_rng(seed).choice(len(X), size=k, replace=False)]


start = draw_rows(X, k, seed=3)

# %%
# Step 2: assign each point to the nearest center
# -----------------------------------------------
# ``Nearest`` holds the question, ``settle`` answers it.  A matrix product scores every center for
# every row, a bound on its rounding error tells which centers cannot be the nearest, and where
# more than one is left, their distances are taken in float64 from the stored values.  So labels
# are exact; of equal distances the lowest index wins.


def assign(X, centers):
    question = Nearest(
        centers, shift=None, scale=Scale(), reach=float(abs(X).max()), first="float64"
    )
    labels = settle(X, question, xp=np)
    return labels, own_distances(X, question, labels, xp=np)


labels, squared = assign(X, start)
labels[:10]

# %%
# Step 3: make each center the mean of its points
# -----------------------------------------------
# The values are written as whole numbers on a grid whose step is a power of two.  Whole numbers
# add up to the same sum in any order, so a center does not depend on threads, blocks or the array
# library.


def recenter(X, labels, k):
    grid = Grid(tuple(exponent_above(largest) for largest in abs(X).max(axis=0)), limbs=2)
    whole = np.concat(quantise(X, grid.up, grid.limbs, xp=np), axis=1)
    sums = group_sums(whole, labels, k, xp=np)
    counts = np.bincount(labels, minlength=k).astype(float)
    short = one_word(len(X), grid.limbs)
    found = means(sums[None], counts, X.shape[1], grid.limbs, whole=True, short=short)
    return found * grid.down


centers = recenter(X, labels, k)

fig, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="compressed")
axes[0].scatter(*X.T, s=16, c="0.6", lw=0)
axes[0].scatter(*start.T, s=170, c="black", marker="X", ec="white", lw=1.5)
axes[0].set(title="1  starting centers", xticks=[], yticks=[], aspect="equal")
draw(axes[1], X, labels, start, "2  nearest center")
draw(axes[2], X, labels, centers, "3  mean of its points")
for before, after in zip(start, centers, strict=True):
    axes[2].annotate("", after, before, arrowprops={"arrowstyle": "->", "lw": 1.5})

# %%
# Step 4: repeat until no point changes its cluster
# -------------------------------------------------
# Each of the two steps can only lower the sum of squares, and there are finitely many ways to
# divide the points: the loop ends.


def lloyd(X, start):
    centers, before, trace = start, None, []
    while True:
        labels, squared = assign(X, centers)
        trace.append((labels, centers, squared.sum()))
        if before is not None and (labels == before).all():
            return trace
        centers, before = recenter(X, labels, len(start)), labels


trace = lloyd(X, start)

shown = [0, 1, 2, len(trace) - 1]
fig, axes = plt.subplots(1, 4, figsize=(11, 3.4), layout="compressed")
for ax, number in zip(axes, shown, strict=True):
    labels, centers, wcss = trace[number]
    draw(ax, X, labels, centers, f"centers moved: {number}\nWCSS {wcss:.0f}")

# %%
# The same start in ``KMeans`` ends at the same centers, bit for bit.  (``tol=0`` is the rule "no
# point changes its cluster" by itself; by default a run may also end when the centers hardly
# move.)

model = KMeans(n_clusters=k, init=start, tol=0, max_iter=None).fit(X)
assert (model.labels_ == trace[-1][0]).all()
assert (model.cluster_centers_ == trace[-1][1]).all()
print(model.status_)

# %%
# One thing the few lines above leave out: a cluster may lose all its points, and then has no
# mean.  The library gives it a row; ``empty_cluster`` says which one.
#
# Step 5: judge the result, and start again
# -----------------------------------------
# WCSS, ``inertia_`` in the library, is the sum of the squared distances of all points to their
# centers. It always falls along a run, but only to the nearest end.  From a poor start, one
# center may hold two groups while two others share one:

starts = [start, draw_rows(X, k, seed=9), draw_rows(X, k, seed=81)]
fig, axes = plt.subplots(1, 3, figsize=(10, 3.9), layout="compressed")
for ax, first in zip(axes, starts, strict=True):
    labels, centers, wcss = lloyd(X, first)[-1]
    draw(ax, X, labels, centers, f"WCSS {wcss:.0f}")
    ax.scatter(*first.T, s=45, fc="none", ec="black", lw=1.2)
fig.suptitle("Three starts (circles) and where they end (crosses)")

# %%
# So one runs several times and keeps the best: ``n_init``.  And one starts better:
# ``init="k-means++"``, the default, draws rows that lie far from the centers so far.  And one goes
# on from where a run ends: a center moves from where it is wasted to where it is missed, as long
# as that pays.  This ``search`` is on by default, unless ``n_init`` is given.

for n_init in (1, 10):
    worst = max(
        KMeans(k, init="random", n_init=n_init, random_state=seed).fit(X).inertia_
        for seed in range(20)
    )
    print(f"random rows, n_init={n_init:2d}: worst WCSS of 20 seeds {worst:.0f}")
for search in (None, "auto"):
    worst = max(KMeans(k, random_state=seed, search=search).fit(X).inertia_ for seed in range(20))
    print(f"k-means++, search={search}: worst WCSS of 20 seeds {worst:.0f}")

# %%
# Where k-means is wrong
# ----------------------
# A point goes to the nearest center, so the border between two clusters is the straight line
# midway between their centers.  That is right for round groups of about the same size.  Where the
# groups are otherwise, the smallest WCSS is still what is sought, and it is not what the eye
# sees.  Points in rings lie in another cluster than most of their group.

round_groups = make_blobs([150, 150], centers=[[0, 0], [6, 0]], random_state=1)
unequal = make_blobs([400, 40], centers=[[0, 0], [4.5, 0]], cluster_std=[1.7, 0.4], random_state=2)
flat, flat_groups = make_blobs([150, 150], centers=[[0, 0], [0, 4]], random_state=3)
stretched = flat * [5.0, 0.6], flat_groups
moons = make_moons(300, noise=0.06, random_state=4)

fig, axes = plt.subplots(2, 2, figsize=(9, 6.5), layout="constrained")
cases = {
    "round, of one size: right": round_groups,
    "a large group beside a small one:\nthe border cuts the large one": unequal,
    "stretched: each is cut across its length": stretched,
    "two moons: no straight border can part them": moons,
}
for ax, (title, (rows, truth)) in zip(axes.flat, cases.items(), strict=True):
    model = KMeans(n_clusters=2, n_init=10, random_state=0).fit(rows)
    draw(ax, rows, model.labels_, model.cluster_centers_, title)
    majority = np.array([np.bincount(model.labels_[truth == group]).argmax() for group in (0, 1)])
    if majority[0] == majority[1]:
        majority[1] = 1 - majority[0]
    other = rows[model.labels_ != majority[truth]]
    ax.scatter(*other.T, s=45, fc="none", ec="black", lw=0.7)
    ax.set_aspect("equal", adjustable="datalim")

# %%
# What helps depends on the case: features on one scale (stretched groups), more clusters than
# groups, joined afterwards (moons, unequal sizes), or an algorithm with another idea of a
# cluster.
