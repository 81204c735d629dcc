"""Readers of matrices in text: masks (`.smtx`) and Matrix Market (`.mtx`)."""

from __future__ import annotations

import gzip
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from sim import ArrayConfig, simulate
from tests.commands import run_command
from tests.conftest import real_file
from traces import InputError, open_layer, read_matrix, reading_limit
from traces.files.matrix_market import read_matrix_market
from traces.files.smtx import read_smtx

MASK = b"2, 3, 3\n0 1 3 \n1 0 2 \n"
MASK_WEIGHTS = [[0, 1, 0], [1, 0, 1]]
GENERAL = b"%%MatrixMarket matrix coordinate real general\n% a note\n\n2 3 3\n1 2 1.5\n\n2 1 -2\n 2\t3 15e-1 \r\n"
GENERAL_WEIGHTS = [[0, 1.5, 0], [-2, 0, 1.5]]


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "weights"),
    [
        ("mine.smtx", MASK, MASK_WEIGHTS),
        ("mine.smtx.gz", MASK, MASK_WEIGHTS),
        ("mine.smtx", MASK.replace(b"\n", b"\r\n"), MASK_WEIGHTS),
        ("mine.smtx", b"1,2,0\n0 0\n\n", [[0, 0]]),
        ("mine.mtx", GENERAL, GENERAL_WEIGHTS),
        ("mine.mtx.gz", GENERAL, GENERAL_WEIGHTS),
        ("mine.mtx", b"%%MatrixMarket Matrix Coordinate Pattern General\n2 3 2\n2 3\n1 1\n", [[1, 0, 0], [0, 0, 1]]),
        ("mine.mtx", b"%%MatrixMarket matrix array integer general\n2 2\n1\n2\n0\n-4\n", [[1, 0], [2, -4]]),
        ("mine.mtx", b"%%MatrixMarket matrix array real symmetric\n2 2\n1\n2\n.5\n", [[1, 2], [2, 0.5]]),
        ("mine.mtx", b"%%MatrixMarket matrix array real skew-symmetric\n2 2\n3\n", [[0, -3], [3, 0]]),
        ("mine.mtx", b"%%MatrixMarket matrix coordinate integer symmetric\n2 2 2\n2 1 5\n2 2 1\n", [[0, 5], [5, 1]]),
        ("mine.mtx", b"%%MatrixMarket matrix coordinate real skew-symmetric\n2 2 1\n2 1 5.\n", [[0, -5], [5, 0]]),
        ("mine.mtx", b"%%MatrixMarket matrix coordinate pattern symmetric\n2 2 1\n2 1\n", [[0, 1], [1, 0]]),
        ("mine.mtx", b"%%MatrixMarket matrix coordinate real general\n1 2 0\n", [[0, 0]]),
        (
            "mine.mtx",
            b"%%MatrixMarket matrix array real general\n1 4\n0\n-0.0e-999 \r\n2e-45\n.0\n",
            [[0, 0, np.float32(2e-45), 0]],
        ),
        ("mine.mtx", b"%%MatrixMarket matrix coordinate real general" + b" " * 300 + b"\n1 1 1\n1 1 2\n", [[2]]),
        ("mine.mtx", b"%%MatrixMarket matrix coordinate unsigned-integer general\n1 2 1\n1 2 7\n", [[0, 7]]),
    ],
)
def test_a_matrix_in_text_becomes_a_layer(name: str, content: bytes, weights: Any, tmp_path: Path) -> None:
    layer, recorded = open_layer(written(tmp_path, name, content))
    assert (layer.name, recorded) == ("mine", None)
    np.testing.assert_array_equal(layer.weights(), weights)


SYMMETRIES = ("general", "symmetric", "skew-symmetric")
KINDS = [
    (form, field, each) for form in ("coordinate", "array") for field in ("real", "integer") for each in SYMMETRIES
]


@pytest.mark.parametrize(
    ("form", "field", "symmetry"),
    [*KINDS, ("coordinate", "pattern", "general"), ("coordinate", "pattern", "symmetric")],
)
def test_what_scipy_writes_is_read_as_scipy_reads_it(form: str, field: str, symmetry: str, tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    weights = np.where(draw.random((30, 30)) < 0.2, draw.normal(size=(30, 30)), 0)
    weights = np.ceil(weights * 4) if field != "real" else weights
    lower = np.tril(weights, -1)
    weights = {"symmetric": lower + lower.T, "skew-symmetric": lower - lower.T}.get(symmetry, weights)
    path = tmp_path / "drawn.mtx"
    matrix = scipy.sparse.coo_array(weights) if form == "coordinate" else weights
    scipy.io.mmwrite(path, matrix, field=field, symmetry=symmetry)
    expected = scipy.io.mmread(path)
    expected = expected.toarray() if form == "coordinate" else expected
    np.testing.assert_array_equal(read_matrix_market(path).toarray(), expected)


def test_a_mask_runs_as_a_layer_of_one_shared_weight(tmp_path: Path) -> None:
    layer = read_matrix(written(tmp_path, "mask.smtx", MASK))
    assert layer.weight_bits == 1
    assert simulate(layer, np.arange(1, 4, dtype=np.float32), ArrayConfig(num_pes=2)).output.tolist() == [2, 4]
    np.save(tmp_path / "input.npy", np.ones(3, dtype=np.float32))
    done = run_command("sim", "mask.smtx", "--activations", "input.npy", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "mask on 64 PEs" in done.stdout


def test_masks_of_published_pruned_layers_are_read(data: Path) -> None:
    paths = sorted(real_file(data, "dlmc").rglob("*.smtx"))
    assert paths
    for path in paths:
        with path.open() as file:
            rows, columns, non_zeros = map(int, file.readline().split(","))
        layer = read_matrix(path)
        assert (layer.rows, layer.columns, int(np.count_nonzero(layer.codes))) == (rows, columns, non_zeros), path


def replaced(content: bytes, old: bytes, new: bytes) -> bytes:
    assert content.count(old) >= 1
    return content.replace(old, new, 1)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "line 1 must hold rows, columns and non-zeros, three whole numbers"),
        (replaced(MASK, b"2, 3, 3", b"2 3 3"), "line 1 must hold rows, columns and non-zeros"),
        (replaced(MASK, b"2,", b"-2,"), "line 1 must hold rows, columns and non-zeros"),
        (replaced(MASK, b"2,", b"0,"), "line 1 must hold rows and columns above 0"),
        (replaced(MASK, b", 3\n", b", 7\n"), "at most as many non-zeros as places; found 2 x 3 with 7"),
        (replaced(MASK, b"2, 3", b"2000000, 30000"), "a layer may have at most 1,073,741,824 weights"),
        (replaced(MASK, b"2, 3", b"20000, 30000"), "may take at most 67,108,864 bytes in memory"),
        (replaced(MASK, b", 3, 3", b", 30000000, 3000000"), "may take at most 67,108,864 bytes in memory"),
        (MASK[:-1], "must have three lines that end; found 2; the file is cut off"),
        (MASK[:12], "must have three lines that end; found 1; the file is cut off"),
        (MASK + b"1\n", "line 4: must be the end of the file; found b'1'"),
        (replaced(MASK, b"0 1 3", b"0 3"), "line 2 must hold 3 offsets, one more than the rows; found 2"),
        (replaced(MASK, b"0 1 3", b"1 1 3"), "line 2: offsets must rise from 0 to the 3 non-zeros; found 1 to 3"),
        (replaced(MASK, b"0 1 3", b"0 1 2"), "line 2: offsets must rise from 0 to the 3 non-zeros; found 0 to 2"),
        (replaced(MASK, b"0 1 3", b"0 4 3"), "found 0 to 3 and a fall behind row 1"),
        (replaced(MASK, b"0 1 3", b"0 x 3"), "line 2 must hold whole numbers; found b'x 3"),
        (replaced(MASK, b"0 1 3", b"0 -1 3"), "line 2 must hold whole numbers; found b'-1 3"),
        (replaced(MASK, b"0 1 3", b"0 1_0 3"), "line 2 must hold whole numbers; found b'_0 3"),
        (replaced(MASK, b"1 0 2", b"1 0 " + b"9" * 30), "line 3 must hold whole numbers; found b'9999"),
        (replaced(MASK, b"1 0 2", b"1 0"), "line 3 must hold 3 columns, one for each non-zero; found 2"),
        (replaced(MASK, b"1 0 2", b"1 0 1 2"), "line 3 must hold 3 columns, one for each non-zero; found 4"),
        (replaced(MASK, b"1 0 2", b"1 0 3"), "line 3: columns must be below 3; found 3 in row 1"),
        (replaced(MASK, b"1 0 2", b"1 2 0"), "the columns of a row must rise, each once; found 0 behind 2 in row 1"),
        (replaced(MASK, b"1 0 2", b"1 2 2"), "the columns of a row must rise, each once; found 2 behind 2 in row 1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["smtx", "smtx.gz"])
def test_a_damaged_mask_gets_a_sentence(content: bytes, sentence: str, suffix: str, tmp_path: Path) -> None:
    path = written(tmp_path, f"bad.{suffix}", content)
    with pytest.raises(InputError, match=re.escape(sentence)) as error:
        open_layer(path)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "a form, a type and a symmetry, and nothing else; found b'', which does not end"),
        (replaced(GENERAL, b"matrix", b"vector"), "line 1 must be %%MatrixMarket matrix"),
        (replaced(GENERAL, b"real", b"complex"), "line 1: weights must be real numbers; found a matrix complex"),
        (replaced(GENERAL, b"general", b"hermitian"), "line 1: weights must be real numbers; found a matrix real"),
        (replaced(GENERAL, b"real", b"double"), "line 1 must state coordinate or array, real or integer or uns"),
        (replaced(GENERAL, b"coordinate real", b"array pattern"), "found array pattern general"),
        (GENERAL[:50], "line 2: expected the sizes of the matrix; the file is cut off"),
        (replaced(GENERAL, b"2 3 3\n", b"2 3\n"), "line 4 must hold rows, columns and entries, 3 whole numbers"),
        (replaced(GENERAL, b"2 3 3\n", b"2 3 3 3\n"), "line 4 must hold rows, columns and entries, 3 whole numbers"),
        (replaced(GENERAL, b"2 3 3\n", b"2 3 -3\n"), "line 4 must hold rows, columns and entries, 3 whole numbers"),
        (replaced(GENERAL, b"2 3 3\n", b"0 3 3\n"), "line 4: rows and columns must be above 0"),
        (replaced(GENERAL, b"2 3 3\n", b"2 3 7\n"), "line 4: a general matrix of 2 x 3 must have at most 6 entries"),
        (replaced(GENERAL, b"general", b"symmetric"), "line 4: rows and columns must be above 0, and equal"),
        (replaced(GENERAL, b"2 3 3\n", b"2000000 30000 3\n"), "a layer may have at most 1,073,741,824 weights"),
        (replaced(GENERAL, b"2 3 3\n", b"20000 30000 3\n"), "may take at most 67,108,864 bytes in memory"),
        (replaced(GENERAL, b"2 3 3\n", b"2000 3000 2000000\n"), "may take at most 67,108,864 bytes in memory"),
        (replaced(GENERAL, b"2 3 3\n", b"2 3 4\n"), "must have 4 lines of entries, as it states; found 3"),
        (replaced(GENERAL, b"2 3 3\n", b"2 3 2\n"), "2 lines of entries, as it states; found 3; the file is damaged"),
        (GENERAL[:-1], "the last line must end; found none; the file is cut off, or its last line needs a line feed"),
        (replaced(GENERAL, b"2 1 -2", b"2 1"), "line 7: must hold row, column and value of type real"),
        (replaced(GENERAL, b"2 1 -2", b"2 1 -2 7"), "line 7: must hold row, column and value of type real"),
        (replaced(GENERAL, b"2 1 -2", b"2 1 -2abc"), "and nothing else; found b'2 1 -2abc'"),
        (replaced(GENERAL, b"2 1 -2", b"2 1 nan"), "line 7: must hold row, column and value of type real"),
        (replaced(GENERAL, b"2 1 -2", b"2 -1 2"), "line 7: must hold row, column and value of type real"),
        (replaced(GENERAL, b"2 1 -2", b"2 1.0 2"), "line 7: must hold row, column and value of type real"),
        (replaced(GENERAL, b"2 1 -2", b"2 1 1e39"), "line 7: a value must be finite as float32; found b'2 1 1e39'"),
        (replaced(GENERAL, b"2 1 -2", b"2 1 -1e999"), "line 7: a value must be finite as float32"),
        (replaced(GENERAL, b"2 1 -2", b"2 1 1e-60"), "line 7: values must be 0 or above 7.01e-46 in magnitude"),
        (replaced(GENERAL, b"2 1 -2", b"2 1 -1.5e-400"), "found b'2 1 -1.5e-400'; set it to 0, which prunes it"),
        (replaced(GENERAL, b"15e-1", b"0.%b1" % (b"0" * 400)), "line 8: values must be 0 or above 7.01e-46"),
        (replaced(GENERAL, b"general\n", b"general%b junk\n" % (b" " * 300)), "a symmetry, and nothing else; found"),
        (replaced(GENERAL, b"2 1 -2", b"% a note\n2 1 -2"), "line 7: comments must stand before the line of the sizes"),
        (GENERAL + b"\n % a note\n", "line 10: comments must stand before the line of the sizes; found b'% a note'"),
        (replaced(GENERAL, b"2 1 -2", b"2 1 -2 % a note"), "and nothing else; found b'2 1 -2 % a note'"),
        (replaced(GENERAL, b"2 3 3\n", b"9%b 3 3\n" % (b"0" * 30)), "line 4 must hold rows, columns and entries"),
        (replaced(GENERAL, b"real", b"unsigned-integer"), "line 5: must hold row, column and value of type unsigned"),
        (replaced(GENERAL, b"2 1 -2", b"0 1 -2"), "line 7: row and column must be from 1 to 2 and from 1 to 3"),
        (replaced(GENERAL, b"2 1 -2", b"2 4 -2"), "line 7: row and column must be from 1 to 2 and from 1 to 3"),
        (replaced(GENERAL, b"2 1 -2", b"2 3 -2"), "line 8: each place must be there once; this one is there twice"),
        (replaced(GENERAL, b"real", b"integer"), "line 5: must hold row, column and value of type integer"),
        (replaced(GENERAL, b"real", b"pattern"), "line 5: must hold row, column of type pattern, and nothing else"),
        (
            b"%%MatrixMarket matrix coordinate real symmetric\n2 2 2\n1 1 1\n1 2 1\n",
            "line 4: a symmetric matrix must hold its lower triangle alone; found b'1 2 1'",
        ),
        (
            b"%%MatrixMarket matrix coordinate real skew-symmetric\n2 2 1\n1 1 1\n",
            "line 3: a skew-symmetric matrix must hold its lower triangle alone; found b'1 1 1'",
        ),
        (b"%%MatrixMarket matrix array real general\n2 1\n1\n2 3\n", "line 4: must hold one value of type real"),
        (b"%%MatrixMarket matrix array real general\n2 1\n1\n", "must have 2 lines of entries, as it states; found 1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["mtx", "mtx.gz"])
def test_a_damaged_matrix_market_file_gets_a_sentence(
    content: bytes, sentence: str, suffix: str, tmp_path: Path
) -> None:
    path = written(tmp_path, f"bad.{suffix}", content)
    with pytest.raises(InputError, match=re.escape(sentence)) as error:
        open_layer(path)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize(("suffix", "content"), [("smtx", MASK), ("mtx", GENERAL)])
def test_a_gzip_stream_that_is_cut_off_damaged_or_huge_gets_a_sentence(
    suffix: str, content: bytes, tmp_path: Path
) -> None:
    packed = gzip.compress(content)
    path = tmp_path / f"bad.{suffix}.gz"
    wrong = packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:]
    for damaged, sentence in (
        (packed[:-9], "the gzip stream must be whole"),
        (wrong, "the gzip stream must be whole"),
        (gzip.compress(content + b" " * 2**27), "may take at most 67,108,864 bytes in memory"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=f"{path}: .*{sentence}"):
            open_layer(path)
    with pytest.raises(InputError, match=f"{tmp_path}/absent.{suffix}: there is no such file"):
        open_layer(tmp_path / f"absent.{suffix}")


@pytest.mark.parametrize(
    "content",
    [
        b"%%MatrixMarket matrix coordinate real general\n" + b"\n" * 4_000_000,
        b"%%MatrixMarket matrix coordinate real general\n1 1 1\n" + b" " * 4_000_000 + b"x\n",
        b"%%MatrixMarket matrix coordinate real general\n1 1 1\n1 1 " + b"9" * 4_000_000 + b"x\n",
        b"%%MatrixMarket matrix coordinate real general\n1 1 1\n" + b"\n \n" * 2_000_000 + b"x\n",
    ],
)
def test_a_matrix_market_file_is_refused_in_time_linear_in_its_length(content: bytes, tmp_path: Path) -> None:
    path = written(tmp_path, "long.mtx", content)
    begin = time.process_time()
    with pytest.raises(InputError, match="long"), reading_limit(2**30):
        read_matrix_market(path)
    assert time.process_time() - begin < 5


def test_a_large_file_is_read_within_its_limit(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    weights = scipy.sparse.random_array((2000, 1000), density=0.05, rng=draw)
    scipy.io.mmwrite(tmp_path / "large.mtx", weights)
    assert np.count_nonzero(read_matrix_market(tmp_path / "large.mtx").toarray()) == 100_000
    matrix = scipy.sparse.csr_array(weights)
    matrix.sort_indices()
    rows = b"".join(
        b" ".join(b"%d" % number for number in numbers) + b" \n" for numbers in (matrix.indptr, matrix.indices)
    )
    path = written(tmp_path, "large.smtx", b"2000, 1000, 100000\n" + rows)
    np.testing.assert_array_equal(read_smtx(path).toarray(), weights.toarray() != 0)
