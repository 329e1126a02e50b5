"""
Embeddings, where they live
===========================

Embeddings come out of a model as an array of a deep learning library, often on a GPU.  ``KMeans``
takes them as they are and works where they are; labels and centers come back in the same library
on the same device.

**What is shown below was made on a CPU**: the machine that builds these pages has no GPU, and the
CUDA path of this library has not yet been run on one.  What would change there is one word, the
device.
"""

import importlib.util

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.random_projection import GaussianRandomProjection

from kmeans_xp import KMeans, metrics

# %%
# Rows
# ----
# A stand-in for the output of a model: 1797 small pictures of digits, projected at random to 64
# features and scaled to length 1, in float32.  Rows of length 1 are how embeddings are usually
# compared; for them, the squared distance is 2 minus twice the cosine, so that near means
# similar.

images, digits = load_digits(return_X_y=True)
embeddings = GaussianRandomProjection(64, random_state=0).fit_transform(
    images - images.mean(axis=0)
)
embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
embeddings = embeddings.astype(np.float32)

# %%
# As a torch tensor if torch is installed, else as the NumPy array.  On a GPU the one word is
# "cuda"; CuPy and JAX arrays are taken in the same way.

device = "cpu"
if importlib.util.find_spec("torch"):
    import torch

    X = torch.asarray(embeddings, device=device)
else:
    X = embeddings
print(type(X).__module__, tuple(X.shape), X.dtype)

# %%
# Fit --- A hundred clusters: more than there are digits, as one uses them for an index or for
# near duplicates.

model = KMeans(n_clusters=100, random_state=0).fit(X)
print("labels:", type(model.labels_).__module__)
print("worked on:", model.device_)
print(model.status_)

# %%
# Labels are exact, float32 or not: each row has the center that is nearest by float64 distances
# of the stored values.  Here all 1797 times 100 of them, the slow way:


def on_host(array):
    return np.asarray(array.cpu() if hasattr(array, "cpu") else array)


rows = embeddings.astype(np.float64)
centers = on_host(model.cluster_centers_).astype(np.float64)
labels = on_host(model.labels_)
squared = ((rows[:, None, :] - centers[None, :, :]) ** 2).sum(axis=2)
assert (squared.argmin(axis=1) == labels).all()

# %%
# The device by name
# ------------------
# Rows in host memory go to a GPU with ``device="cuda"``, which is an error where there is none,
# or with ``device="auto"``, which takes a GPU if there is one, and stays where X is otherwise.
# The library promises the same bits either way; tests hold it on every array library on a CPU,
# and a GPU is still to be asked.

auto = KMeans(n_clusters=100, random_state=0, device="auto").fit(embeddings)
assert (auto.labels_ == labels).all()
assert auto.inertia_ == model.inertia_

# %%
# What the clusters hold
# ----------------------
# The rows nearest to the centers of the twelve largest clusters, each as a picture, with the
# share of the cluster that is the same digit:

largest = np.argsort(-np.bincount(labels))[:12]
fig, axes = plt.subplots(2, 6, figsize=(9, 3.8), layout="constrained")
for ax, cluster in zip(axes.flat, largest, strict=True):
    nearest = squared[:, cluster].argmin()
    mine = digits[labels == cluster]
    share = (mine == digits[nearest]).mean()
    ax.imshow(images[nearest].reshape(8, 8), cmap="gray_r")
    ax.set_title(f"{len(mine)} rows, {share:.0%}", fontsize=9)
    ax.set_axis_off()

# %%
# All hundred clusters against the ten digits:

score = metrics.normalized_mutual_info_score(digits, labels)
print(f"normalized mutual information {score:.3f}")
