"""Files and blocks that are not as they seem: as in memory, or refused by name."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from engine import plan_of

from kmeans_xp import FeatureScaler, KMeans, KMedoids, check_features, choose_k
from kmeans_xp._backend import numpy_context
from kmeans_xp._iterables import Batches
from kmeans_xp._problem import training_over
from kmeans_xp._sampling import Sampler
from kmeans_xp._streams import StreamSource

pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
from pyarrow import parquet  # noqa: E402

X = np.random.default_rng(0).normal(size=(60, 3)) + 9 * np.arange(60)[:, None] // 20


def fit(x: Any) -> KMeans:
    return KMeans(3, random_state=0).fit(x)


def table_of(x: Any, names: str) -> Any:
    return pyarrow.table({name: x[:, i] for i, name in enumerate(names)})


def as_pandas(x: Any, names: list[Any]) -> Any:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    return pandas.DataFrame(x, columns=names)


@pytest.mark.parametrize(
    "blocks",
    [
        lambda: [table_of(X, "abc"), table_of(X[:, ::-1], "cba")],
        lambda: [as_pandas(X, [0, 1, 2]), as_pandas(X[:, ::-1], [2, 1, 0])],
    ],
)
def test_blocks_whose_columns_stand_in_another_order_are_refused(
    blocks: Callable[[], Any],
) -> None:
    with pytest.raises(ValueError, match=r"block 1 of X has the columns .*the first block has"):
        fit(blocks())


def test_arrays_may_follow_a_data_frame() -> None:
    assert fit([table_of(X, "abc"), X]).inertia_ == fit(np.concatenate([X, X])).inertia_


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_an_index_that_pandas_stored_is_no_feature(suffix: str, tmp_path: pathlib.Path) -> None:
    order = np.random.default_rng(1).permutation(len(X))
    frame = as_pandas(X, ["a", "b", "c"]).iloc[order]
    table, path = pyarrow.Table.from_pandas(frame), tmp_path / f"x.{suffix}"
    assert table.num_columns == 4
    if suffix == "parquet":
        parquet.write_table(table, path)
    else:
        with (
            pyarrow.OSFile(str(path), "wb") as file,
            pyarrow.ipc.new_file(file, table.schema) as writer,
        ):
            writer.write_table(table)
    model, here = fit(path), fit(frame)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    assert model.cluster_centers_.tobytes() == here.cluster_centers_.tobytes()
    assert model.predict(path).tolist() == here.labels_.tolist()


@pytest.mark.parametrize("order", ["C", "F"])
def test_swapped_bytes_get_the_dtype_that_they_get_in_memory(
    order: Any, tmp_path: pathlib.Path
) -> None:
    x = np.asarray(X, dtype=">f4", order=order)
    np.save(tmp_path / "x.npy", x)
    model, here = fit(tmp_path / "x.npy"), fit(x)
    assert model.cluster_centers_.dtype == here.cluster_centers_.dtype == np.float64
    assert model.cluster_centers_.tobytes() == here.cluster_centers_.tobytes()
    assert fit([x]).cluster_centers_.dtype == np.float64


def test_files_that_are_none_of_their_kind_are_named(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"x.npy cannot be read: No data"):
        fit(path)
    with open(path, "wb") as file:
        np.savez(file, X=X)
    with pytest.raises(ValueError, match=r"x.npy cannot be read: it is an archive"):
        fit(path)
    table = tmp_path / "x.csv"
    table.write_bytes("\xe4,b\n1,2\n3,4\n".encode("latin1"))
    with pytest.raises(ValueError, match=r"x.csv cannot be read: 'utf-8'"):
        fit(table)
    table.write_text("a,a,c\n1,2,3\n3,4,6\n5,6,9\n")
    with pytest.raises(ValueError, match=r"x.csv has columns of one name: a\. Give each"):
        fit(table)
    parquet.write_table(pyarrow.table({}), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=r"x.parquet has no columns"):
        fit(tmp_path / "x.parquet")


@pytest.mark.parametrize("cell", ["", "NA"])
def test_a_first_line_of_numbers_and_gaps_is_no_header(cell: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"1,{cell},3\n4,5,6\n7,8,9\n1,2,3\n")
    with pytest.raises(ValueError, match=r"NaN: the first is at row 0 of .*x.csv, column 1"):
        fit(path)
    path.write_text(f"a,{cell},3\n4,5,6\n7,8,9\n1,2,3\n")
    assert len(fit(path).labels_) == 3


def test_hidden_files_of_a_folder_are_left_out(tmp_path: pathlib.Path) -> None:
    parquet.write_table(table_of(X, "abc"), tmp_path / "x.parquet")
    (tmp_path / "._x.parquet").write_bytes(b"notes of a file system")
    assert fit(tmp_path).inertia_ == fit(X).inertia_


@pytest.mark.parametrize(
    "ask", [KMedoids(3).fit, FeatureScaler("standard").fit, check_features, choose_k]
)
def test_where_rows_must_be_in_memory_a_path_is_told_so(
    ask: Callable[[Any], Any], tmp_path: pathlib.Path
) -> None:
    for path in (tmp_path / "x.npy", str(tmp_path / "x.npy")):
        with pytest.raises(TypeError, match=r"x.npy' is a text or a path.*numpy.load"):
            ask(path)
    with pytest.raises(TypeError, match=r"\(generator\) hands out its values.*concatenate"):
        ask(part for part in [X])
    with pytest.raises(TypeError, match=r"\(function\) hands out its values"):
        ask(lambda: [X])


def test_wide_rows_of_many_batches_are_not_taken_at_once() -> None:
    x = np.random.default_rng(2).normal(size=(4, 1 << 18))  # 2 MiB a row
    context, reader = numpy_context(), Batches([x])
    source = StreamSource(
        reader, None, None, context, block_rows=64, piece_rows=64, threads=1, limit=1 << 30
    )
    problem = training_over(source, plan_of("reference", "float64"), 2)
    batches = Sampler(problem).batches(2, 40, 0)
    assert next(batches).x.base.shape == (32, 1 << 18)
