"""The libraries that fit on a GPU.  Rows are there before the timing, but where none may be."""

from __future__ import annotations

import contextlib
import io
import re
from typing import Any

from _gpu_kit import timed
from _peers import _DEFAULTS, OURS, FastKMeans, Outcome, Peer, Task


class KmeansXpOnGpu:
    """CuPy arrays in, CuPy arrays out."""

    def __init__(self) -> None:
        import cupy

        from kmeans_xp import KMeans

        self.cupy, self.cls = cupy, KMeans
        self.task: Task | None = None

    def prepare(self, task: Task) -> None:
        if task is not self.task:
            self.task, self.X = task, self.cupy.asarray(task.X)
        self.model = self.cls(
            len(task.start),
            init=self.X[self.cupy.asarray(task.start)],
            n_init=1,
            max_iter=task.max_iter,
            tol=0.0,
            random_state=0,
        )
        self.cupy.cuda.Device().synchronize()

    def train(self) -> None:
        self.model.fit(self.X)

    def label(self) -> None:
        """Labels come with the fit."""
        self.cupy.cuda.Device().synchronize()

    def outcome(self) -> Outcome:
        model = self.model
        return Outcome(
            model.labels_.get(),
            model.cluster_centers_.get(),
            int(model.n_iter_),
            model.kernel_,
            # what the pool took from the device: it gives nothing back meanwhile
            int(self.cupy.get_default_memory_pool().total_bytes()),
        )


class _OnTorch:
    """Rows as a torch tensor on the GPU."""

    device = "cuda"
    labels: Any
    centers: Any
    iterations: int

    def __init__(self) -> None:
        import torch

        self.torch = torch
        self.task: Task | None = None

    def prepare(self, task: Task) -> None:
        if task is not self.task:
            self.task, self.X = task, self.torch.asarray(task.X, device=self.device)
        self.start = self.X[self.torch.asarray(task.start, device=self.device)].clone()
        self.wait()

    def train(self) -> None:
        raise NotImplementedError

    def label(self) -> None:
        """Labels come with the fit."""
        self.wait()

    def wait(self) -> None:
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    def outcome(self) -> Outcome:
        found = (part.cpu().numpy() for part in (self.labels, self.centers))
        most = None if self.device == "cpu" else int(self.torch.cuda.max_memory_allocated())
        return Outcome(*found, self.iterations, device_bytes=most)


class Flash(_OnTorch):
    def __init__(self) -> None:
        super().__init__()
        from flash_kmeans import batch_kmeans_Euclid

        self.fit = batch_kmeans_Euclid

    def train(self) -> None:
        assert self.task is not None
        labels, centers, count = self.fit(
            self.X[None],
            len(self.start),
            max_iters=self.task.max_iter,
            # it stops below, not at the tolerance
            tol=1e-30 if self.task.converge else -1.0,
            init_centroids=self.start[None].clone(),
        )
        self.labels, self.centers, self.iterations = labels[0], centers[0], int(count)


def flash_pass(x: Any, k: int, gpu: Any) -> dict[str, Any]:
    """Its assignment of all rows to the first k, by TF32 and by half precision.

    Labels are as they come; that rows are rounded, and squared norms, are not part of the time.
    """
    try:
        import torch
        from flash_kmeans.assign_euclid_triton import euclid_assign_triton
    except ImportError as error:
        return {"absent": str(error)}
    found = {}
    for name, dtype in (("tf32", torch.float32), ("float16", torch.float16)):
        rows = torch.from_dlpack(x).to(dtype)[None]
        centers, squares = rows[:, :k].clone(), (rows.float() ** 2).sum(dim=-1)
        found[name] = timed(lambda a=(rows, centers, squares): euclid_assign_triton(*a), gpu)
        del rows
        torch.cuda.empty_cache()
    return found


class FastPytorch(_OnTorch):
    def __init__(self) -> None:
        super().__init__()
        from fast_pytorch_kmeans import KMeans

        self.cls = KMeans

    def train(self) -> None:
        assert self.task is not None
        tol = 0.0 if self.task.converge else -1.0
        # it tells of its iterations in words alone
        model = self.cls(len(self.start), max_iter=self.task.max_iter, tol=tol, verbose=1)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            self.labels = model.fit_predict(self.X, centroids=self.start.clone())
        self.centers = model.centroids
        told = re.search(r"used (\d+) iterations", said.getvalue())
        self.iterations = int(told[1]) if told else 0


class PlainTorch(_OnTorch):
    """Lloyd's loop as one writes it in a few lines of torch, float32 products."""

    most_scores = 1 << 28

    def train(self) -> None:
        assert self.task is not None
        torch, centers, before = self.torch, self.start, None
        for number in range(1, self.task.max_iter + 1):
            self.iterations = number
            labels = self.nearest(centers)
            if self.task.converge and before is not None and bool((labels == before).all()):
                break
            before = labels
            sums = torch.zeros_like(centers).index_add_(0, labels, self.X)
            counts = torch.bincount(labels, minlength=len(centers))[:, None]
            centers = torch.where(counts > 0, sums / counts.clamp(min=1), centers)
        self.labels, self.centers = self.nearest(centers), centers

    def nearest(self, centers: Any) -> Any:
        half = (centers * centers).sum(dim=1) / 2
        rows = max(1, self.most_scores // len(centers))
        parts = self.X.split(rows)
        return self.torch.cat([(half - part @ centers.T).argmin(dim=1) for part in parts])


class FastKMeansOnGpu(FastKMeans):
    gpu = True


GPU_PEERS = (
    Peer(
        OURS, "kmeans-xp", KmeansXpOnGpu, True,
        "tensor cores where they prove the label, else float32, float64, canonical float64",
        _DEFAULTS + "; CuPy arrays",
    ),
    Peer(
        "flash-kmeans", "flash-kmeans", Flash, False, "TF32",
        "Triton; labels are those before the last update of the centers",
    ),
    Peer(
        "fastkmeans", "fastkmeans", FastKMeansOnGpu, False, "float16",
        "no subsample; rows come from the host, within the timing; labels by predict",
        {"start": "takes no centers; the rows come in an order that makes its draw the start",
         "float64": "float32 only; float64 rows are rounded to it before the timing"},
    ),
    Peer(
        "fast-pytorch-kmeans", "fast-pytorch-kmeans", FastPytorch, False, "float32",
        "labels are those before the last update of the centers; an empty cluster moves to 0",
    ),
    Peer(
        "torch loop", "torch", PlainTorch, False, "float32",
        "matmul, argmin, index_add_; the loop is ours",
    ),
)  # fmt: skip
