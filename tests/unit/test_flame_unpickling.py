import os
import pickle
from pathlib import Path

import flame_files as files
import numpy as np
import pytest
import scipy.sparse as sp

from raytrack.errors import AssetError
from raytrack.head.flame.unpickling import Record, array_of, read_pickle, unpickled

ARRAY = np.arange(12.0).reshape(3, 4)
SPARSE = sp.csc_matrix(np.diag([1.0, 0.0, 3.0]))


def read(content: bytes) -> dict:
    return unpickled(content, where="model.pkl")


@pytest.mark.parametrize(("protocol", "python2"), [(0, False), (1, False), (2, False), (2, True)])
def test_chumpy_is_read_without_chumpy(monkeypatch, protocol, python2):
    value = {"v_template": files.chumpy_array(ARRAY, monkeypatch), "bs_style": "lbs"}
    content = files.pickled(value, protocol=protocol, python2=python2)
    monkeypatch.undo()
    np.testing.assert_array_equal(array_of(read(content)["v_template"]), ARRAY)


def test_chumpys_selections_are_read(monkeypatch):
    inner = files.chumpy_array(ARRAY, monkeypatch)
    state = {"a": inner, "idxs": np.array([5, 0, 7, 2]), "preferred_shape": (2, 2)}
    content = files.pickled({"shapedirs": files.stand_in("chumpy.reordering", "Select", state, monkeypatch)})
    monkeypatch.undo()
    np.testing.assert_array_equal(array_of(read(content)["shapedirs"]), [[5, 0], [7, 2]])


def test_what_chumpy_computes_is_refused_only_where_it_is_needed(monkeypatch):
    product = files.stand_in("chumpy.ch", "MatVecMult", {"mtx": ARRAY, "vec": ARRAY[0]}, monkeypatch)
    content = files.pickled({"J": product, "weights": ARRAY})
    monkeypatch.undo()
    values = read(content)
    np.testing.assert_array_equal(array_of(values["weights"]), ARRAY)
    with pytest.raises(ValueError, match=r"chumpy\.ch\.MatVecMult"):
        array_of(values["J"])


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("kind", [sp.csc_matrix, sp.csr_matrix, sp.coo_matrix, sp.csc_array])
def test_sparse_matrices_of_today(protocol, kind):
    values = read(pickle.dumps({"J_regressor": kind(SPARSE), "f": ARRAY.astype(np.uint32)}, protocol))
    np.testing.assert_array_equal(array_of(values["J_regressor"]), SPARSE.toarray())
    np.testing.assert_array_equal(array_of(values["f"]), ARRAY)


def test_sparse_matrices_of_python_2(monkeypatch):
    content = files.pickled({"J_regressor": files.old_sparse(SPARSE, monkeypatch)}, python2=True)
    monkeypatch.undo()
    np.testing.assert_array_equal(array_of(read(content)["J_regressor"]), SPARSE.toarray())


def test_numpy_scalars_and_lists():
    values = read(pickle.dumps({"a": np.float64(2.5), "b": [1, 2, 3]}, 2))
    assert array_of(values["a"]) == 2.5
    np.testing.assert_array_equal(array_of(values["b"]), [1, 2, 3])


class Attack:
    """Runs something when it is unpickled by Python's own reader."""

    def __init__(self, *call: object) -> None:
        self.call = call

    def __reduce__(self):
        return self.call[0], tuple(self.call[1:])


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("function", [os.mkdir, eval, getattr, np.load, np.fromfile, __import__, Path])
def test_anything_but_arrays_is_refused_and_not_run(tmp_path, protocol, function):
    target = tmp_path / "made"
    path = tmp_path / "flame2023.pkl"
    path.write_bytes(pickle.dumps({"v_template": Attack(function, str(target))}, protocol))
    with pytest.raises(AssetError, match=r"it would load .*not an array"):
        read_pickle(path)
    assert not target.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
        b"cnumpy.core.multiarray\nfromfile\n.",
        b"cnumpy\nsave\n.",
        b"cscipy.sparse._matrix\nos\n.",
        b"cscipy.io\nloadmat_array\n.",
        b"c__builtin__\nexec\n.",
    ],
    ids=["dotted", "numpy's insides", "numpy's functions", "modules of modules", "other scipy", "built-ins"],
)
def test_detours_are_refused(content):
    with pytest.raises(AssetError, match="it would load"):
        read(content)


def test_only_records_are_reconstructed():
    with pytest.raises(AssetError, match="would make"):
        read(b"ccopy_reg\n_reconstructor\n(cnumpy\nndarray\nc__builtin__\nobject\nNtR.")


def test_indices_beyond_a_sparse_matrix_are_refused():
    record = type("csc_matrix", (Record,), {"kind": "scipy.sparse.csc.csc_matrix"})()
    parts = {"data": np.ones(1), "indices": np.array([99]), "indptr": np.array([0, 1, 1, 1])}
    record.state = {**parts, "_shape": (3, 3)}
    with pytest.raises(ValueError, match="indices"):
        array_of(record)


@pytest.mark.parametrize("damage", [b"", b"not a pickle", files.pickled({"a": ARRAY})[:-30], pickle.dumps([1, 2])])
def test_damaged_files_are_asset_errors(tmp_path, damage):
    path = tmp_path / "flame2023.pkl"
    path.write_bytes(damage)
    with pytest.raises(AssetError, match=r"flame2023\.pkl"):
        read_pickle(path)


def test_a_missing_file_is_an_asset_error(tmp_path):
    with pytest.raises(AssetError, match="cannot be read"):
        read_pickle(tmp_path / "none.pkl")
