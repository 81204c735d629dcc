"""Hardware-neutral form of one compressed layer: codes, codebooks, a bias and an activation threshold."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from traces.arrays import Booleans, Floats32, Integers, Integers64, Numbers
from traces.errors import InputError

MOST_WEIGHTS = 2**30  # of a layer in a file: a GiB of codes
NO_LOST_WEIGHT = "must be 0 or above 7.01e-46 in magnitude: smaller ones are 0 as float32"
LOST_WEIGHT_REMEDY = "set it to 0, which prunes it, or scale the weights"


def check_size(name: str, rows: int, columns: int) -> None:
    """Raise InputError if a file states more than MOST_WEIGHTS weights for a layer, before memory is allocated."""
    if rows * columns > MOST_WEIGHTS:
        raise InputError(
            f"layer {name!r}: a layer may have at most {MOST_WEIGHTS:,} weights; found {rows:,} x {columns:,}; the "
            f"file is damaged, or the layer must be split"
        )


def checked_activations(name: str, values: Numbers, columns: int) -> Floats32:
    """Return one input of a layer as float32 [columns].

    Parameters
    ----------
    name : str
        Name of the values in errors.
    values : array
        The values of a file.
    columns : int
        Columns of the layer.

    Raises
    ------
    InputError
        If they are no real numbers, have another shape, or are not finite as float32.
    """
    if values.dtype.kind not in "fiu" or values.shape != (columns,):
        raise InputError(
            f"{name} must be real numbers [{columns}], one for each column; found {values.dtype} {list(values.shape)}"
        )
    return finite_as_float32(name, values)


def finite_as_float32(name: str, values: Numbers, places: Sequence[Integers] | None = None) -> Floats32:
    """Return real numbers as float32; raise InputError, which names value and place, if one is not finite then.

    `places` are the indices of the values along each axis, if they are the entries of a sparse array.
    """
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    _refuse_first(f"{name} must be finite as float32", ~np.isfinite(narrow), values, places, "correct or scale it")
    return narrow


def weights_as_float32(name: str, values: Numbers, places: Sequence[Integers] | None = None) -> Floats32:
    """Return weights as `finite_as_float32` does; raise InputError also if one is 0 only as float32."""
    narrow = finite_as_float32(name, values, places)
    if values.dtype.kind == "f" and values.dtype.itemsize > narrow.itemsize:
        lost = (narrow == 0) & (values != 0)
        _refuse_first(f"{name} {NO_LOST_WEIGHT}", lost, values, places, LOST_WEIGHT_REMEDY)
    return narrow


def _refuse_first(
    requirement: str, wrong: Booleans, values: Numbers, places: Sequence[Integers] | None, remedy: str
) -> None:
    """Raise InputError about the first of the values that are wrong, if there is one."""
    if wrong.any():
        first = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
        place = [int(each) for each in first] if places is None else [int(each[first]) for each in places]
        raise InputError(f"{requirement}; found {values[first]!s} at {place}; {remedy}")


def thresholded(activations: Numbers, threshold: float) -> Numbers:
    """Return activations with zeros where the magnitude is not above a threshold; as they are if it is 0."""
    if not threshold:
        return activations
    limit = np.float32(threshold)
    kept = (activations > limit) | (activations < -limit)
    return np.where(kept, activations, np.zeros((), dtype=activations.dtype))


def _read_only(array: Numbers) -> Numbers:
    """Return the values in read-only memory; a file mapped for reading is shared, not copied."""
    owner = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    mapped = isinstance(owner, np.memmap) and owner.mode == "r"
    if owner.flags.writeable or (owner.base is not None and not mapped):
        array = array.copy()
        array.flags.writeable = False
    return array


@dataclass(frozen=True, eq=False)
class CompressedLayer:
    """Weight matrix whose entries are indices into a codebook of shared weights, or into several, by row.

    Attributes
    ----------
    name : str
        Name of the layer in reports and in a container.
    codes : numpy.ndarray
        Indices into the codebook of the row, uint8 or uint16 [rows, columns]; 0 is a pruned weight.
    codebook : numpy.ndarray
        Shared weights, float32 [2**weight_bits], or [codebooks, 2**weight_bits] with `row_codebooks`; entry 0 of each
        is 0.0, the value of a pruned weight.
    bias : numpy.ndarray, optional
        Indices into the codebook of the row, of the type of `codes`, [rows].
    free_bias : numpy.ndarray, optional
        Bias outside of the codebook, float32 [rows]. A layer has at most one of the two biases.
    row_codebooks : numpy.ndarray, optional
        Number of each row's codebook, uint16 [rows], if there are several.
    activation_threshold : float
        Activations whose magnitude is at most this count as zero, as in ONNX's Shrink; finite as float32, at least 0.

    Raises
    ------
    InputError
        If a type or shape is wrong, a value of the codebook or of a free bias is not finite, a code or a row has no
        entry in its codebook, there are two biases, or the threshold is out of its range.

    Notes
    -----
    The layer computes `weights() @ thresholded(activations) + bias_values()`. A convolution is stored unrolled, as
    [out, in * kernel_height * kernel_width]. The layer owns its arrays, which are read-only. A codebook that is given
    as [1, 2**weight_bits] is kept as [2**weight_bits], without `row_codebooks`. Sources: weight sharing of Han, Mao,
    Dally, "Deep Compression", ICLR 2016, section 3; encoded weight matrix, and a codebook in each PE, of Han et al.,
    "EIE", ISCA 2016, sections III-B and IV; thresholds of activations as in Liu et al., "Training-Free Activation
    Sparsity in Large Language Models" (TEAL), ICLR 2025.
    """

    name: str
    codes: Integers
    codebook: Floats32
    bias: Integers | None = None
    free_bias: Floats32 | None = None
    row_codebooks: Integers | None = None
    activation_threshold: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or not self.name.isprintable():
            raise InputError(f"a layer's name must be printable text, not empty; found {self.name!r}")
        codes = self._index_array("codes", self.codes, dimensions=2)
        if codes.size == 0:
            raise InputError(
                f"layer {self.name!r}: codes must have at least one row and one column; found shape {codes.shape}"
            )
        codebook = self._checked_codebook()
        length = codebook.shape[-1]
        row_codebooks = self._checked_row_codebooks(codes.shape[0], codebook)
        if codebook.ndim == 2 and len(codebook) == 1:
            codebook, row_codebooks = codebook[0], None
        self._check_codes_in_codebook("codes", codes, length)
        bias = self.bias
        if bias is not None:
            bias = self._index_array("bias", bias, dimensions=1)
            if bias.shape != (codes.shape[0],) or bias.dtype != codes.dtype:
                raise InputError(
                    f"layer {self.name!r}: bias must be {codes.dtype} [{codes.shape[0]}], one codebook index "
                    f"per row, of the type of codes; found {bias.dtype} {list(bias.shape)}"
                )
            self._check_codes_in_codebook("bias", bias, length)
            object.__setattr__(self, "bias", _read_only(bias))
        if self.free_bias is not None:
            object.__setattr__(self, "free_bias", _read_only(self._checked_free_bias(codes.shape[0])))
        object.__setattr__(self, "codes", _read_only(codes))
        object.__setattr__(self, "codebook", _read_only(codebook))
        object.__setattr__(self, "row_codebooks", None if row_codebooks is None else _read_only(row_codebooks))
        object.__setattr__(self, "activation_threshold", self._checked_threshold())

    def _checked_codebook(self) -> Floats32:
        array = np.asarray(self.codebook)
        if array.dtype.kind not in "fiu":
            raise InputError(f"layer {self.name!r}: codebook must be real numbers; found {array.dtype}")
        length = array.shape[-1] if array.ndim else 0
        if array.ndim not in (1, 2) or array.size == 0 or length < 2 or length & (length - 1):
            raise InputError(
                f"layer {self.name!r}: codebook must be one row of 2**weight_bits shared weights "
                f"(2, 4, 8, ...), or several such rows; found shape {array.shape}; fill it up with zeros"
            )
        if length > 2**16:
            raise InputError(f"layer {self.name!r}: codebook may hold at most 65,536 shared weights; found {length:,}")
        codebook = weights_as_float32(f"layer {self.name!r}: every codebook value", array)
        pruned = codebook[..., 0]
        if pruned.any():
            raise InputError(
                f"layer {self.name!r}: codebook entry 0 is the value of a pruned weight and must be 0.0; "
                f"found {pruned.ravel()[np.flatnonzero(pruned)[0]]}"
            )
        codebook[..., 0] = 0.0  # not -0.0
        return codebook

    def _checked_row_codebooks(self, rows: int, codebook: Floats32) -> Integers | None:
        if codebook.ndim == 1:
            if self.row_codebooks is not None:
                raise InputError(
                    f"layer {self.name!r}: row_codebooks needs a codebook [codebooks, 2**weight_bits]; found the shape "
                    f"{codebook.shape}; leave row_codebooks out"
                )
            return None
        if self.row_codebooks is None:
            raise InputError(
                f"layer {self.name!r}: {len(codebook):,} codebooks need row_codebooks, the codebook number of each "
                f"row; found none"
            )
        numbers = np.asarray(self.row_codebooks)
        if numbers.dtype.newbyteorder("=") not in (np.uint8, np.uint16) or numbers.shape != (rows,):
            raise InputError(
                f"layer {self.name!r}: row_codebooks must be uint16 [{rows}]; found {numbers.dtype} "
                f"{list(numbers.shape)}"
            )
        if int(numbers.max()) >= len(codebook):
            raise InputError(
                f"layer {self.name!r}: every value of row_codebooks must be below {len(codebook):,}, the number of "
                f"codebooks; found {numbers.max()}"
            )
        used = np.unique(numbers).size
        if used < len(codebook):
            raise InputError(
                f"layer {self.name!r}: each codebook must be that of a row; found {len(codebook):,}, of which "
                f"rows have {used:,}; leave the others out"
            )
        return numbers.astype(np.uint16)

    def _checked_threshold(self) -> float:
        try:
            with np.errstate(over="ignore"):
                threshold = float(np.float32(self.activation_threshold))
        except (TypeError, ValueError):
            threshold = np.nan
        if isinstance(self.activation_threshold, bool) or not 0 <= threshold < np.inf:
            raise InputError(
                f"layer {self.name!r}: activation_threshold must be a number of at least 0, finite as float32; found "
                f"{self.activation_threshold!r}"
            )
        return threshold + 0.0  # not -0.0

    def _index_array(self, field: str, value: object, dimensions: int) -> Integers:
        """Return codebook indices in native byte order, or raise InputError."""
        array = np.asarray(value)
        if array.dtype.newbyteorder("=") not in (np.uint8, np.uint16) or array.ndim != dimensions:
            raise InputError(
                f"layer {self.name!r}: {field} must be a {dimensions}-dimensional array of uint8 or uint16 "
                f"codebook indices; found {array.dtype} with {array.ndim} dimension(s)"
            )
        return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))

    def _checked_free_bias(self, rows: int) -> Floats32:
        array = np.asarray(self.free_bias)
        if array.shape != (rows,) or array.dtype.kind not in "fiu":
            raise InputError(
                f"layer {self.name!r}: free_bias must be real numbers [{rows}], one value per row; found {array.dtype} "
                f"{list(array.shape)}"
            )
        if self.bias is not None:
            raise InputError(
                f"layer {self.name!r}: a bias must be codes (bias) or values (free_bias); found both; give their sum, "
                f"codebook[bias] + free_bias, as free_bias"
            )
        return finite_as_float32(f"layer {self.name!r}: every value of free_bias", array)

    def _check_codes_in_codebook(self, field: str, codes: Integers, length: int) -> None:
        largest = int(codes.max())
        if largest >= length:
            raise InputError(
                f"layer {self.name!r}: every value of {field} must be below {length}, the length of the "
                f"codebook; found {largest}; give a longer codebook or correct {field}"
            )

    @property
    def rows(self) -> int:
        """Number of output activations."""
        return int(self.codes.shape[0])

    @property
    def columns(self) -> int:
        """Number of input activations."""
        return int(self.codes.shape[1])

    @property
    def weight_bits(self) -> int:
        """Bits of one code, log2 of the length of a codebook."""
        return int(self.codebook.shape[-1]).bit_length() - 1

    @property
    def codebooks(self) -> Floats32:
        """All codebooks, float32 [codebooks, 2**weight_bits]; one if `codebook` has one axis."""
        return np.atleast_2d(self.codebook)

    @property
    def num_codebooks(self) -> int:
        """Number of codebooks."""
        return len(self.codebooks)

    @property
    def density(self) -> float:
        """Share of weights that are kept."""
        return float(np.count_nonzero(self.codes)) / self.codes.size

    @property
    def num_parameters(self) -> int:
        """Weights before pruning, and biases in the codebook; a free bias does not count."""
        return int(self.codes.size) + (0 if self.bias is None else self.rows)

    def weights(self) -> Floats32:
        """Return the decoded weight matrix, float32 [rows, columns]."""
        if self.row_codebooks is None:
            return self.codebook[self.codes]
        return self.codebook[self.row_codebooks[:, np.newaxis], self.codes]

    def bias_values(self) -> Floats32:
        """Return the bias as values, float32 [rows]; zeros if the layer has none."""
        if self.free_bias is not None:
            return self.free_bias.copy()
        if self.bias is None:
            return np.zeros(self.rows, dtype=np.float32)
        return self.codebook[self.bias] if self.row_codebooks is None else self.codebook[self.row_codebooks, self.bias]

    def thresholded(self, activations: Numbers) -> Numbers:
        """Return activations with zeros where the magnitude is not above the layer's threshold."""
        return thresholded(activations, self.activation_threshold)

    def part(self, rows: Integers64 | slice) -> CompressedLayer:
        """Return a layer of some rows, each with its bias and its codebook."""
        bias, free_bias, numbers = (
            None if values is None else values[rows] for values in (self.bias, self.free_bias, self.row_codebooks)
        )
        codebook = self.codebook
        if numbers is not None:
            used, numbers = np.unique(numbers, return_inverse=True)
            codebook, numbers = codebook[used], numbers.astype(np.uint16)
        return dataclasses.replace(
            self, codes=self.codes[rows], codebook=codebook, bias=bias, free_bias=free_bias, row_codebooks=numbers
        )

    def arrays(self) -> dict[str, Numbers]:
        """Return the layer but its name as arrays by attribute, without those that have their default."""
        present = {name: getattr(self, name) for name in LAYER_ARRAYS if getattr(self, name) is not None}
        if self.activation_threshold:
            present[_THRESHOLD] = np.array(self.activation_threshold, dtype=np.float32)
        return present

    @classmethod
    def of_arrays(cls, name: str, arrays: Mapping[str, Numbers]) -> CompressedLayer:
        """Return the layer of arrays that `arrays` gave; others are ignored. Raises InputError if one is invalid."""
        threshold = arrays.get(_THRESHOLD, np.float32(0.0))
        if np.ndim(threshold) != 0 or np.asarray(threshold).dtype.kind not in "fiu":
            raise InputError(f"layer {name!r}: {_THRESHOLD} must be a number; found an array {np.shape(threshold)}")
        values = {key: arrays[key] for key in LAYER_ARRAYS if key in arrays}
        return cls(name, **values, activation_threshold=float(threshold))


#: Arrays that make a layer, by attribute; the first two are always there.
LAYER_ARRAYS = ("codes", "codebook", "bias", "free_bias", "row_codebooks")
_THRESHOLD = "activation_threshold"
