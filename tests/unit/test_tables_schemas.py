"""Vectors in tables: fixed-size lists that come back bit for bit."""

import numpy as np
import pyarrow as pa
import pytest

from raytrack.tables import schemas
from raytrack.tables.schemas import from_vectors, landmarks_schema, to_vectors, track_schema, vector, vector_shape
from raytrack.tables.store import read_part, write_part


@pytest.mark.parametrize("shape", [(3,), (478, 2), (9, 3), (2, 2, 2)])
def test_vectors_survive_a_file(tmp_path, shape):
    values = np.random.default_rng(0).normal(size=(5, *shape)).astype(np.float32)
    values[2] = np.nan
    schema = pa.schema([pa.field("x", vector(*shape), nullable=False)])
    write_part(tmp_path / "part", pa.table([to_vectors(values, vector(*shape))], schema=schema), fingerprint="f")
    rows = read_part(tmp_path / "part")
    assert vector_shape(rows.schema.field("x").type) == shape
    assert np.array_equal(from_vectors(rows["x"], shape), values, equal_nan=True)


def test_no_rows():
    values = np.zeros((0, 478, 2), np.float32)
    column = pa.chunked_array([to_vectors(values, vector(478, 2))])
    assert from_vectors(column, (478, 2)).shape == (0, 478, 2)


def test_columns_depend_on_detector_and_head():
    names = landmarks_schema(68, 0, has_depth=False).names
    assert "expression_scores" not in names
    assert "depth" not in names
    assert vector_shape(landmarks_schema(478, 52, has_depth=True).field("expression_scores").type) == (52,)
    assert vector_shape(track_schema({"expression": 73}).field("expression").type) == (73,)


def test_what_may_be_missing_has_no_fixed_size():
    """Versions of pyarrow that are not the newest write such files, but cannot read them again."""
    fixed = {name: schema for name, schema in vars(schemas).items() if isinstance(schema, pa.Schema)}
    made = {
        "landmarks": landmarks_schema(478, 52, has_depth=True),
        "track": track_schema({"expression": 73}),
        "track_static": schemas.track_static_schema(150),
    }
    assert len(fixed) >= 8
    for name, schema in {**fixed, **made}.items():
        for field in schema:
            assert not (field.nullable and pa.types.is_fixed_size_list(field.type)), f"{name}.{field.name}"
