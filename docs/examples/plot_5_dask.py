"""
A dask cluster: fit on a sample, label in blocks
================================================

Rows that are too many for one memory can live in a dask array, in blocks on the machines of a
cluster.

**What works today**: a fit on rows that one machine holds (all of them, a block or a sample), and
labels for the whole array, block by block, wherever the blocks are.  **What does not**:
``KMeans.fit`` does not take a dask array; it refuses it with a remedy, instead of loading it
silently.
"""

import dask
import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
from dask.distributed import Client, LocalCluster
from sklearn.datasets import make_blobs

from kmeans_xp import KMeans

# %%
# A cluster
# ---------
# Two workers on this machine, which are reached as those on others are: what they are sent goes
# through a socket, the model as a pickle.  Here they are threads of one process.  The page was
# also run with ``processes=True``, for which a script needs ``if __name__ == "__main__":`` around
# all of its lines; what it prints is the same.  It was not run on several machines: there one
# connects by ``Client(address)`` instead, and kmeans_xp must be installed on each of them.

cluster = LocalCluster(
    n_workers=2, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=None
)
client = Client(cluster)

# %%
# A dask array
# ------------

rows, _ = make_blobs(200_000, n_features=2, centers=6, cluster_std=0.8, random_state=11)
X = da.from_array(rows, chunks=(25_000, 2))
print(f"{X.numblocks[0]} blocks of {X.chunks[0][0]} rows, {len(client.nthreads())} workers")

# %%
# As it is, the array is refused:

try:
    KMeans(n_clusters=6).fit(X)
except TypeError as error:
    print(error)

# %%
# Fit on a sample
# ---------------
# Every hundredth row, brought to one memory.  That the fit has seen a sample is for you to say,
# in the open: no rows are left out behind your back.

sample = X[::100].compute()
model = KMeans(n_clusters=6, n_init=10, random_state=0).fit(sample)
print(f"{len(sample)} rows: {model.status_}")

# %%
# Label all rows
# --------------
# ``predict`` looks at one row at a time, so blocks can be labelled by themselves; each gets the
# labels that it would get in one piece.  Nothing is computed until it is asked for.

labels = X.map_blocks(model.predict, dtype=np.int32, drop_axis=1)
sizes = da.bincount(labels, minlength=6).compute()
print("rows in each cluster:", sizes)
assert (labels.compute() == model.predict(rows)).all()

# %%
# How good is the sample?
# -----------------------
# The sum of squares of all rows under the sample's centers, added up over the blocks, beside that
# of a fit on all rows (which this machine happens to hold):

parts = [dask.delayed(model.score)(block) for block in X.to_delayed().ravel()]
by_sample = -sum(dask.compute(*parts))
by_all = KMeans(n_clusters=6, n_init=10, random_state=0).fit(rows).inertia_
print(f"WCSS by the sample {by_sample:.0f}, by all rows {by_all:.0f}")
print(f"{by_sample / by_all - 1:.2%} more")

# %%
COLORS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#999999"]
MARKERS = "os^DvP"

fig, ax = plt.subplots(figsize=(6.5, 4.5), layout="constrained")
shown = labels[::100].compute()
client.close()
cluster.close()
for cluster in range(6):
    mine = sample[shown == cluster]
    ax.scatter(*mine.T, s=14, c=COLORS[cluster], marker=MARKERS[cluster], alpha=0.6, lw=0)
ax.scatter(*model.cluster_centers_.T, s=170, c="black", marker="X", ec="white", lw=1.5)
ax.set(title="Every hundredth row, and the centers", xticks=[], yticks=[])
