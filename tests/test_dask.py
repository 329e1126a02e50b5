"""Rows in dask partitions: the answer of rows in memory, whatever happens to workers."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
from cases import clumped, few_weights
from dask_cases import N, check_same, check_same_search, in_parts

from kmeans_xp import KMeans, choose_k, k_means

dask = pytest.importorskip("dask", reason="dask is not installed")
da = pytest.importorskip("dask.array", reason="dask is not installed")

STARTS = ("k-means++", "random", "random-partition", "k-means||")


@pytest.fixture(scope="module")
def rows() -> Any:
    return clumped(N, 4)


def unknown(x: Any) -> Any:
    """The same partitions, whose sizes dask does not know."""
    return x[da.ones(x.shape[0], chunks=x.chunks[0], dtype=bool)]


@pytest.mark.parametrize(
    ("start", "weighted"), [*((start, True) for start in STARTS), ("k-means++", False)]
)
def test_partitions_change_no_bit(rows: Any, threads: Any, start: str, weighted: bool) -> None:
    weight = few_weights(N) if weighted else None
    model = KMeans(7, init=start, n_init=1, random_state=5, max_iter=6)
    here = model.fit(rows, sample_weight=weight)
    for count in (1, 3, 17):
        lazy = None if weight is None else da.from_array(weight, chunks=400)
        there = KMeans(**model.get_params()).fit(in_parts(rows, count), sample_weight=lazy)
        check_same(here, there)


@pytest.mark.parametrize(
    ("search", "k", "count"),
    # more clusters than features have no lower bound
    [("auto", 3, 3), (60, 12, 17)],
)
def test_a_search_finds_the_same(rows: Any, threads: Any, search: Any, k: int, count: int) -> None:
    x, weight = rows[:, :3], None
    if k == 12:
        weight = few_weights(N)
    model = KMeans(k, init="k-means||", random_state=5, search=search)
    here = KMeans(**model.get_params()).fit(x, sample_weight=weight)
    there = KMeans(**model.get_params()).fit(in_parts(x, count), sample_weight=weight)
    check_same(here, there)
    check_same_search(here, there)
    assert (here.lower_bound_ is None) == (k == 12)
    if k == 12:
        assert any(trial.swaps for trial in here.trials_)
        assert any(trial.exchanges for trial in here.trials_)


def test_the_function_takes_partitions(rows: Any, threads: Any) -> None:
    options: dict[str, Any] = {"init": "k-means||", "random_state": 1, "search": 6}
    centers, labels, inertia = k_means(rows, 3, **options)
    there, lazy, value = k_means(in_parts(rows, 3), 3, **options)
    assert there.tobytes() == centers.tobytes()
    assert (lazy.compute() == labels).all()
    assert value == inertia


@pytest.mark.parametrize("weighted", [False, True])
def test_the_optimum_of_one_feature_is_found(rows: Any, threads: Any, weighted: bool) -> None:
    weight = few_weights(N) if weighted else None
    model = KMeans(7, random_state=5, search="auto")
    here = KMeans(**model.get_params()).fit(rows[:, :1], sample_weight=weight)
    assert "the optimum" in here.status_
    for count in (1, 3, 17):
        lazy = da.from_array(rows[:, :1], chunks=(-(-N // count), 1))
        there = KMeans(**model.get_params()).fit(lazy, sample_weight=weight)
        check_same(here, there)
        check_same_search(here, there)
    with pytest.raises(ValueError, match=r"memory_limit \(5000 bytes\) is too little"):
        KMeans(7, search="auto", memory_limit=5000).fit(lazy)


@pytest.mark.parametrize("rule", ["farthest", "random"])
def test_empty_clusters_are_filled_alike(rows: Any, threads: Any, rule: str) -> None:
    start = np.repeat(rows[:1], 7, axis=0)
    model = KMeans(7, init=start, empty_cluster=rule, random_state=0)
    here = model.fit(rows)
    check_same(here, KMeans(**model.get_params()).fit(in_parts(rows, 5)))


def test_unknown_sizes_and_weights_of_all_kinds(rows: Any, threads: Any) -> None:
    weight = np.random.default_rng(8).random(N)
    lazy = in_parts(rows, 4)
    model = KMeans(5, init="k-means||", search=None, random_state=2)
    here = KMeans(**model.get_params()).fit(rows, sample_weight=weight)
    theirs = da.from_array(weight, chunks=lazy.chunks[0])
    for given in (weight, theirs, unknown(theirs)):
        check_same(here, KMeans(**model.get_params()).fit(unknown(lazy), sample_weight=given))
    here = KMeans(**model.get_params()).fit(rows, sample_weight=3.0)
    check_same(here, KMeans(**model.get_params()).fit(unknown(lazy), sample_weight=3.0))


def test_data_frames(threads: Any) -> None:
    frames = pytest.importorskip("dask.dataframe", reason="dask[dataframe] is not installed")
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(1)
    table = pandas.DataFrame(
        {"a": rng.random(300), "b": rng.integers(0, 9, 300), "c": rng.random(300) > 0.5}
    )
    weight = pandas.Series(rng.random(300))
    model = KMeans(4, search=None, random_state=0)
    here = KMeans(**model.get_params()).fit(table, sample_weight=weight)
    lazy = frames.from_pandas(table, npartitions=3)
    there = model.fit(lazy, sample_weight=frames.from_pandas(weight, npartitions=3))
    check_same(here, there)
    assert there.feature_names_in_.tolist() == ["a", "b", "c"]
    assert there.predict(lazy).compute().tolist() == here.predict(table).tolist()
    with pytest.raises(ValueError, match="feature names should match"):
        there.predict(lazy.rename(columns={"a": "z"}))
    with pytest.raises(ValueError, match=r"do not: 'd'"):
        model.fit(lazy.assign(d="x"))


def test_answers_are_lazy_but_for_the_score(rows: Any, threads: Any) -> None:
    read: list[int] = []

    def noted(block: Any) -> Any:
        read.append(len(block))
        return block

    lazy = in_parts(rows.astype(np.float32), 3).map_blocks(noted, dtype=np.float32, meta=rows[:0])
    model = KMeans(6, random_state=0, search=None).fit(lazy)
    here = KMeans(6, random_state=0, search=None).fit(rows.astype(np.float32))
    read.clear()
    labels, distances = model.predict(lazy), model.transform(lazy)
    assert labels.chunks == model.labels_.chunks == lazy.chunks[:1]
    assert distances.chunks == (lazy.chunks[0], (6,))
    assert not read
    assert labels.compute().tolist() == here.labels_.tolist()
    assert distances.dtype == distances.compute().dtype == np.float32
    assert np.array_equal(distances.compute(), here.transform(rows.astype(np.float32)))
    assert sum(read) == 3 * 2 * N  # three times, in two blocks of columns
    score = model.score(lazy)
    assert isinstance(score, float)
    assert score == here.score(rows.astype(np.float32))
    # a model of rows in memory answers too
    assert here.predict(lazy).compute().tolist() == here.labels_.tolist()


def test_bad_values_are_named_by_row_and_column(rows: Any, threads: Any) -> None:
    bad = rows.copy()
    bad[1403, 2] = np.inf
    model = KMeans(3, random_state=0).fit(rows)
    where = "infinity: the first is at row 1403, column 2"
    with pytest.raises(ValueError, match=where):
        KMeans(3).fit(unknown(in_parts(bad, 17)))
    with pytest.raises(ValueError, match=where):
        model.score(in_parts(bad, 17))
    with pytest.raises(ValueError, match=where):
        model.predict(in_parts(bad, 17)).compute()
    with pytest.raises(ValueError, match="row 3 of partition 14, column 2"):
        model.predict(unknown(da.from_array(bad, chunks=(100, 4)))).compute()
    weight = np.ones(N)
    weight[[1200, 77]] = np.nan, -1.0
    with pytest.raises(ValueError, match="NaN or infinity: nan at row 1200"):
        KMeans(3).fit(in_parts(rows, 3), sample_weight=da.from_array(weight, chunks=500))


def test_what_cannot_be_done_is_refused(rows: Any, threads: Any) -> None:
    lazy = in_parts(rows, 3)
    with pytest.raises(ValueError, match="n_samples=2 should be >= n_clusters=3"):
        KMeans(3).fit(lazy[lazy[:, 0] > np.sort(rows[:, 0])[-3]])
    with pytest.raises(ValueError, match=r"expected \(1500,\)"):
        KMeans(3).fit(lazy, sample_weight=da.ones(7))
    weight = da.ones(N - 1, chunks=((500, 500, 499),))
    with pytest.raises(ValueError, match=r"hold .* values, those of X"):
        KMeans(3).fit(da.from_array(rows, chunks=(500, 4)), sample_weight=unknown(weight))
    with pytest.raises(ValueError, match="Complex data not supported"):
        KMeans(3).fit(lazy.astype(np.complex128))
    for given in (lazy[:, 0], dask.delayed(rows)):
        with pytest.raises(TypeError, match="two-dimensional arrays and data frames"):
            KMeans(3).fit(given)
    with pytest.raises(TypeError, match=r"X.compute\(\).*some of its rows. KMeans, k_means and"):
        choose_k(lazy, 3)
    with pytest.raises(TypeError, match=r"list.*are worked on as NumPy or CuPy arrays"):
        KMeans(3).fit(lazy.rechunk({1: -1}).map_blocks(list, dtype=float, meta=rows[:0]))
    with pytest.raises(Exception, match="device='cuda' does not go with dask"):
        KMeans(3, device="cuda").fit(lazy)
    model = KMeans(3, device=["cpu"], random_state=0).fit(lazy)
    for device, said in (("gpu", "'gpu' is not known"), ([], "is not known"), ("cpu,cpu", "twice")):
        with pytest.raises(Exception, match=said):
            model.set_params(device=device).predict(lazy)


def test_ctrl_c_leaves_the_best_state(rows: Any, threads: Any) -> None:
    def stop(record: Any, centers: Any) -> None:
        if record.iteration == 3:
            raise KeyboardInterrupt

    here, there = (KMeans(9, search=None, random_state=4, callback=stop) for _ in range(2))
    for model, x in ((here, rows), (there, in_parts(rows, 3))):
        with pytest.raises(KeyboardInterrupt):
            model.fit(x)
    check_same(here, there)
    assert there.status_.startswith("interrupted")


def test_a_checkpoint_goes_on_from_memory_to_partitions(
    rows: Any, threads: Any, tmp_path: pathlib.Path
) -> None:
    def stop(record: Any, centers: Any) -> None:
        if record.iteration == 4:
            raise KeyboardInterrupt

    options = {"random_state": 5, "search": None, "tol": 0}
    whole = KMeans(9, **options).fit(rows)
    path = tmp_path / "fit.ckpt"
    with pytest.raises(KeyboardInterrupt):
        KMeans(9, checkpoint=path, callback=stop, **options).fit(rows)
    assert path.exists()
    read: list[int] = []
    there = KMeans(9, checkpoint=path, callback=lambda record, _: read.append(1), **options).fit(
        in_parts(rows, 3)
    )
    assert len(read) < whole.n_iter_
    assert there.cluster_centers_.tobytes() == whole.cluster_centers_.tobytes()
    assert there.labels_.compute().tobytes() == whole.labels_.tobytes()
