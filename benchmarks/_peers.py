"""The libraries side by side: what each can do, and how it is called.

Each is called as its users call it, with its defaults, apart from what a fair comparison
fixes: the starting centers, the iterations, no tolerance, no subsample, all processors.  A fit
ends with centers *and* a label for each row; where training leaves no labels, the pass that
finds them is part of the fit and is also timed by itself.
Libraries are imported in ``__init__`` only, in a process of their own.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import re
import warnings
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

Rows = np.ndarray[Any, Any]


@dataclass
class Task:
    """A fit: rows, the indices of the starting rows, and when to stop."""

    X: Rows
    start: Rows
    max_iter: int
    converge: bool


@dataclass
class Outcome:
    """What a fit leaves; ``device_bytes`` is the most that it had of a GPU's memory."""

    labels: Rows
    centers: Rows
    iterations: int
    kernel: str | None = None
    device_bytes: int | None = None


class Library(Protocol):
    """Calls of one library; ``train`` and ``label`` are timed, the others are not."""

    def prepare(self, task: Task) -> None: ...
    def train(self) -> None: ...
    def label(self) -> None: ...
    def outcome(self) -> Outcome: ...


class _SklearnLike:
    """Libraries with the face of scikit-learn: a fit leaves everything."""

    options: dict[str, Any] = {}

    def __init__(self) -> None:
        self.cls = self.load()

    def load(self) -> Any:
        raise NotImplementedError

    def prepare(self, task: Task) -> None:
        self.X = task.X
        self.model = self.cls(
            n_clusters=len(task.start),
            init=task.X[task.start],
            n_init=1,
            max_iter=task.max_iter,
            tol=0.0,
            random_state=0,
            **self.options,
        )

    def train(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of convergence
            self.model.fit(self.X)

    def label(self) -> None:
        """Labels come with the fit."""

    def outcome(self) -> Outcome:
        model = self.model
        kernel = getattr(model, "kernel_", None)
        return Outcome(model.labels_, model.cluster_centers_, int(model.n_iter_), kernel)


class KmeansXp(_SklearnLike):
    def load(self) -> Any:
        from kmeans_xp import KMeans

        return KMeans


class Lloyd(_SklearnLike):
    options = {"algorithm": "lloyd"}

    def load(self) -> Any:
        from sklearn.cluster import KMeans

        return KMeans


class Elkan(Lloyd):
    options = {"algorithm": "elkan"}


class Intelex(_SklearnLike):
    def load(self) -> Any:
        from sklearnex.cluster import KMeans

        return KMeans


class Faiss:
    def __init__(self) -> None:
        import faiss

        self.faiss = faiss

    def prepare(self, task: Task) -> None:
        self.X = task.X
        self.start = task.X[task.start]
        self.model = self.faiss.Kmeans(
            task.X.shape[1],
            len(task.start),
            niter=task.max_iter,
            max_points_per_centroid=2**31 - 1,
            min_points_per_centroid=1,
        )

    def train(self) -> None:
        self.model.train(self.X, init_centroids=self.start)

    def label(self) -> None:
        _, self.labels = self.model.assign(self.X)

    def outcome(self) -> Outcome:
        return Outcome(self.labels, self.model.centroids, len(self.model.obj))


class SuperKMeans:
    def __init__(self) -> None:
        import superkmeans

        self.cls = superkmeans.SuperKMeans

    def prepare(self, task: Task) -> None:
        self.X = task.X
        self.model = self.cls(
            len(task.start),
            task.X.shape[1],
            hierarchical=False,
            iters=task.max_iter,
            sampling_fraction=1.0,
            max_points_per_cluster=2**31 - 1,
            early_termination=False,
        )

    def train(self) -> None:
        self.centers = self.model.train(self.X)

    def label(self) -> None:
        self.labels = self.model.assign_training_points(self.X, self.centers)

    def outcome(self) -> Outcome:
        return Outcome(self.labels, self.centers, len(self.model.iteration_stats))


class FastKMeans:
    """The rows are handed over in an order in which its seeded draw picks the given start."""

    gpu = False

    def __init__(self) -> None:
        import fastkmeans
        import torch

        self.cls, self.torch = fastkmeans.FastKMeans, torch
        self.task: Task | None = None

    def prepare(self, task: Task) -> None:
        if task is not self.task:
            self.task = task
            self.order = self.order_for(len(task.X), task.start)
            self.X = task.X[self.order]
        self.model = self.cls(
            task.X.shape[1],
            len(task.start),
            niter=task.max_iter,
            tol=1e-30 if task.converge else 0.0,
            gpu=self.gpu,
            seed=0,
            verbose=True,  # the only way to learn the iterations
        )

    def order_for(self, n: int, start: Rows) -> Rows:
        """An order of the rows whose drawn places hold the starting rows."""
        self.torch.manual_seed(0)
        drawn = self.torch.randperm(n)[: len(start)].numpy()
        order = np.empty(n, dtype=np.int64)
        order[drawn] = start
        order[np.setdiff1d(np.arange(n), drawn)] = np.setdiff1d(np.arange(n), start)
        return order

    def train(self) -> None:
        self.said = io.StringIO()
        with contextlib.redirect_stdout(self.said):
            self.model.fit(self.X)

    def label(self) -> None:
        self.found = self.model.predict(self.X)

    def outcome(self) -> Outcome:
        labels = np.empty_like(self.found)
        labels[self.order] = self.found
        iterations = len(re.findall(r"^Iteration ", self.said.getvalue(), re.MULTILINE))
        return Outcome(labels, self.model.centroids, iterations)


@dataclass(frozen=True)
class Peer:
    """One library: its distribution, its arithmetic, and what it cannot do.

    ``cannot`` maps "start", "tol off", "convergence", "float64" or "weights" to the reason.
    """

    name: str
    package: str
    make: type[Library]
    exact: bool
    arithmetic: str
    setting: str
    cannot: dict[str, str] = field(default_factory=dict)

    @property
    def version(self) -> str | None:
        """The installed version; None where it is not installed.

        Ours is that of the package that is imported: it may come from a source tree.
        """
        if self.name == OURS:
            import kmeans_xp

            return kmeans_xp.__version__
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None

    def refusal(self, mode: str) -> str | None:
        """Why it takes no part in a mode ("iterations" or "convergence")."""
        return self.cannot.get("convergence") if mode == "convergence" else None

    def record(self) -> dict[str, Any]:
        """What a result file says of the library."""
        return {
            "package": self.package,
            "version": self.version,
            "absent": None if self.version else f"not installed: pip install {self.package}",
            "exact": self.exact,
            "arithmetic": self.arithmetic,
            "setting": self.setting,
            "cannot": self.cannot,
        }


OURS = "kmeans_xp"
SKLEARN = ("sklearn lloyd", "sklearn elkan")
_SINGLE = "float32 only; float64 rows are rounded to it before the timing"
_DEFAULTS = "tol=0, n_init=1, otherwise defaults"

PEERS = (
    Peer(
        OURS, "kmeans-xp", KmeansXp, True,
        "the data's; labels proven by canonical float64 distances", _DEFAULTS,
    ),
    Peer(SKLEARN[0], "scikit-learn", Lloyd, True, "the data's", _DEFAULTS),
    Peer(SKLEARN[1], "scikit-learn", Elkan, True, "the data's", _DEFAULTS),
    Peer(
        "sklearnex", "scikit-learn-intelex", Intelex, True, "the data's",
        f"{_DEFAULTS}; scikit-learn is not patched",
        {"weights": "other than equal ones go to scikit-learn"},
    ),
    Peer(
        "faiss", "faiss-cpu", Faiss, False, "float32",
        "no subsample (max_points_per_centroid=2**31-1); labels by assign",
        {
            "tol off": "stops when the float32 objective of two iterations is equal",
            "float64": _SINGLE,
        },
    ),
    Peer(
        "SuperKMeans", "superkmeans", SuperKMeans, False,
        "float32, dimensions pruned approximately",
        "flat, no subsample, no early termination; labels by assign_training_points",
        {
            "start": "takes no centers and draws its own rows",
            "convergence": "takes no starting centers, so its way to convergence is another one",
            "float64": _SINGLE,
            "weights": "has none",
        },
    ),
    Peer(
        "fastkmeans", "fastkmeans", FastKMeans, False, "float32 on a CPU (float16 on a GPU)",
        "torch on the CPU; no subsample; labels by predict",
        {
            "start": "takes no centers; the rows come in an order that makes its draw the start",
            "float64": "sums in float32; " + _SINGLE,
            "weights": "has none",
        },
    ),
)  # fmt: skip

BY_NAME = {peer.name: peer for peer in PEERS}
OWN_START = frozenset({"SuperKMeans"})
