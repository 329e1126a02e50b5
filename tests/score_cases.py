"""Rows with labels, and the scores of a clustering by plain loops and exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

OF_ROWS = ("silhouette_score", "calinski_harabasz_score", "davies_bouldin_score")
OF_LABELS = ("adjusted_rand_score", "normalized_mutual_info_score")


def blobs(n=90, d=3, k=4, seed=0, dtype=np.float64):
    """Overlapping clusters: rows and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % k)
    return (rng.normal(size=(n, d)) + 3.0 * rng.normal(size=(k, d))[labels]).astype(dtype), labels


def silhouettes(x, labels):
    """Plain loops over the definition."""
    rows, labels = np.asarray(x, np.float64).tolist(), list(labels)
    found = []
    for i, row in enumerate(rows):
        means = {}
        for label in set(labels):
            others = [j for j, other in enumerate(labels) if other == label and j != i]
            if others:
                means[label] = math.fsum(math.dist(row, rows[j]) for j in others) / len(others)
        if labels[i] not in means:
            found.append(0.0)
            continue
        a = means.pop(labels[i])
        b = min(means.values())
        found.append((b - a) / max(a, b) if max(a, b) > 0.0 else 0.0)
    return np.array(found)


def exact_means(x, labels):
    """Rows by label and their mean, in fractions."""
    clusters = {}
    for row, label in zip(np.asarray(x, np.float64).tolist(), labels, strict=True):
        clusters.setdefault(label, []).append([Fraction(value) for value in row])
    return [
        (rows, [sum(column) / len(rows) for column in zip(*rows, strict=True)])
        for rows in clusters.values()
    ]


def squared(a, b):
    return sum((p - q) ** 2 for p, q in zip(a, b, strict=True))


def calinski_harabasz(x, labels):
    clusters = exact_means(x, labels)
    rows = [row for members, _ in clusters for row in members]
    mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    inner = sum(squared(row, center) for members, center in clusters for row in members)
    outer = sum(len(members) * squared(center, mean) for members, center in clusters)
    return float(outer * (len(rows) - len(clusters)) / (inner * (len(clusters) - 1)))


def davies_bouldin(x, labels):
    clusters = exact_means(x, labels)
    spread = [
        math.fsum(math.sqrt(squared(row, center)) for row in rows) / len(rows)
        for rows, center in clusters
    ]
    return math.fsum(
        max(
            (spread[i] + spread[j]) / math.sqrt(squared(clusters[i][1], clusters[j][1]))
            for j in range(len(clusters))
            if j != i
        )
        for i in range(len(clusters))
    ) / len(clusters)


def index(a, b):
    """Orphans by plain loops; the lowest index among equal distances."""

    def orphans(centers, others):
        nearest = {
            min(range(len(others)), key=lambda j: (squared(center, others[j]), j))
            for center in centers
        }
        return len(others) - len(nearest)

    a, b = ([[Fraction(v) for v in row] for row in np.asarray(c).tolist()] for c in (a, b))
    return max(orphans(a, b), orphans(b, a))
