"""
The colours of a photo
======================

A photo is a table too: a row for each pixel, with three features: red, green and blue.  The
centers of *k* clusters are the *k* colours that stand for all others with the smallest squared
error.  The photo is the one of the Summer Palace that comes with scikit-learn.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

from kmeans_xp import KMeans

photo = load_sample_image("china.jpg")
pixels = photo.reshape(-1, 3).astype(np.float64)

# %%
# Fewer rows, the same problem
# ----------------------------
# Many pixels have the same colour.  Each colour is taken once, and ``sample_weight`` says how
# many pixels have it: the sum of squares is the same for any centers, so the best centers are the
# same too.

colors, where, counts = np.unique(pixels, axis=0, return_inverse=True, return_counts=True)
where = where.reshape(-1)
print(f"{len(pixels)} pixels, {len(colors)} different colours")

# %%
# From the same start both ways end at the same picture:

start = colors[np.linspace(0, len(colors) - 1, 8).astype(int)]
options = {"n_clusters": 8, "init": start, "max_iter": 20}
by_pixel = KMeans(**options).fit(pixels)
by_color = KMeans(**options).fit(colors, sample_weight=counts)
print(f"squared error by pixel  {by_pixel.inertia_:.6e}, {by_pixel.n_iter_} iterations")
print(f"squared error by colour {by_color.inertia_:.6e}, {by_color.n_iter_} iterations")
assert (by_pixel.labels_ == by_color.labels_[where]).all()

# %%
# 8, 16 and 64 colours
# --------------------

models = {
    k: KMeans(k, random_state=0, max_iter=50).fit(colors, sample_weight=counts) for k in (8, 16, 64)
}

fig, axes = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
axes[0, 0].imshow(photo)
axes[0, 0].set_title(f"as it was: {len(colors)} colours")
for ax, (k, model) in zip(axes.flat[1:], models.items(), strict=True):
    palette = model.cluster_centers_.round().astype(np.uint8)
    ax.imshow(palette[model.labels_[where]].reshape(photo.shape))
    error = np.sqrt(model.inertia_ / pixels.size)
    ax.set_title(f"{k} colours, RMS error {error:.1f} of 255")
for ax in axes.flat:
    ax.set_axis_off()

# %%
# The palettes, darkest first, each colour as wide as the share of the pixels that it stands for:

fig, axes = plt.subplots(3, 1, figsize=(9, 2.8), layout="constrained")
for ax, (k, model) in zip(axes, models.items(), strict=True):
    share = np.bincount(model.labels_, weights=counts, minlength=k) / len(pixels)
    order = np.argsort(model.cluster_centers_ @ [0.299, 0.587, 0.114])
    left = 0.0
    for cluster in order:
        ax.barh(0, share[cluster], left=left, color=model.cluster_centers_[cluster] / 255)
        left += share[cluster]
    ax.set(xlim=(0, 1), xticks=[], yticks=[0], yticklabels=[f"{k} colours"])

# %%
# Distances in red, green and blue are not quite what the eye sees; for that, change the colour
# space before the fit.
