"""
A dask cluster: fit on partitions
=================================

Rows that are too many for one memory can live in a dask array, in partitions on the machines of a
cluster.  ``KMeans`` takes such arrays (and dask data frames) as they are, and gives the answer that
it gives for the same rows in one memory, bit for bit.
"""

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
# through a socket.  Here they are threads of one process; with ``processes=True`` a script needs
# ``if __name__ == "__main__":`` around all of its lines.  On several machines one connects by
# ``Client(address)`` instead, and kmeans_xp must be installed on each of them (this page was not
# run so).  No cluster is started behind your back: without a client, dask's own threads work.

cluster = LocalCluster(
    n_workers=2, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=":0"
)
client = Client(cluster)

# %%
# A dask array
# ------------

rows, _ = make_blobs(200_000, n_features=2, centers=6, cluster_std=0.8, random_state=11)
X = da.from_array(rows, chunks=(25_000, 2))
print(f"{X.numblocks[0]} partitions of {X.chunks[0][0]} rows, {len(client.nthreads())} workers")

# %%
# Fit
# ---
# In each pass a partition is one task, and what comes back are sums: as much as the centers,
# however many the rows.  ``"k-means||"`` starts with fewer passes than ``"k-means++"``, which takes
# four for each center.

model = KMeans(n_clusters=6, init="k-means||", random_state=0).fit(X)
print(model.status_, f"after {model.n_iter_} iterations, WCSS {model.inertia_:.0f}")
print(model.reading_)

# %%
# One answer
# ----------
# Labels are a lazy dask array, in the partitions of X; nothing is computed until it is asked for.
# They, and the centers, are those of the rows in one memory.

print(model.labels_)
in_memory = KMeans(n_clusters=6, init="k-means||", random_state=0).fit(rows)
assert (model.cluster_centers_ == in_memory.cluster_centers_).all()
assert model.inertia_ == in_memory.inertia_
assert (model.labels_.compute() == in_memory.labels_).all()

# %%
# Answers about other rows
# ------------------------
# ``predict`` and ``transform`` are lazy too; ``score`` is a number.

sizes = da.bincount(model.predict(X), minlength=6).compute()
print("rows in each cluster:", sizes)
assert model.score(X) == -model.inertia_

# %%
COLORS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#999999"]
MARKERS = "os^DvP"

sample, shown = rows[::100], np.asarray(model.labels_[::100])
client.close()
cluster.close()

fig, ax = plt.subplots(figsize=(6.5, 4.5), layout="constrained")
for number in range(6):
    mine = sample[shown == number]
    ax.scatter(*mine.T, s=14, c=COLORS[number], marker=MARKERS[number], alpha=0.6, lw=0)
ax.scatter(*model.cluster_centers_.T, s=170, c="black", marker="X", ec="white", lw=1.5)
ax.set(title="Every hundredth row, and the centers", xticks=[], yticks=[])
