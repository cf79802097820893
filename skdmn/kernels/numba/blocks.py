"""Building blocks of the CPU kernels: sums of products kept in registers.

Convolution, density matrices and the passes of the softmax are sums of products
``a[p] * b[v]`` over strided views of arrays. `multiply_block` computes a block of such
sums for some p and v at once. It reads both operands in place, without copying windows,
and uses every value for a whole row or column of the block. Numba does not generate
such code from loops, so these functions write LLVM vector instructions. The kernels
that call them are plain loops.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from typing import Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_CONFIG: Any = numba.config  # settings from the environment

if _CONFIG.DISABLE_JIT:
    raise ImportError(
        "the Numba kernels need Numba's compiler, but NUMBA_DISABLE_JIT is set"
    )


def _vector_bytes() -> tuple[int, int]:
    """Return the bytes of a vector register and the number of such registers."""
    if _CONFIG.CPU_NAME or _CONFIG.CPU_FEATURES is not None or not _CONFIG.ENABLE_AVX:
        # Numba's cache may be shared by several machines: use what all of them have
        return 16, 16
    features = llvm.get_host_cpu_features()
    if features.get("avx512vl"):
        # Zen 4 computes 64 bytes in two halves; 32 bytes waste less at the edges
        return (32 if llvm.get_host_cpu_name() == "znver4" else 64), 32
    if features.get("avx"):
        return 32, 16
    return 16, 32 if "neon" in features else 16


VECTOR_BYTES, _REGISTERS = _vector_bytes()
# rows of a block: three vectors each, and three that are read, fill the registers
ROWS = 8 if _REGISTERS == 32 else 4
HALF, TALL = ROWS // 2, ROWS * 2  # TALL: rows of a block of one vector
FOURS, TALL_FOURS = ROWS // 4, TALL // 4  # groups of four rows, for 2 x 2 pooling
VECTORS = 3

_FUSE = ("contract",)  # LLVM may fuse a product and a sum into one instruction


def lanes(dtype: Any) -> int:
    """Return the number of values of a dtype in a vector."""
    return VECTOR_BYTES // dtype.itemsize


def padded(length: int, dtype: Any) -> int:
    """Return a length rounded up to whole vectors."""
    return -(-length // lanes(dtype)) * lanes(dtype)


@numba.njit(inline="always")
def multiply(rows, vectors, left, right, counts, to):
    """Call `multiply_block` for some of the remaining rows; return their number.

    The number may exceed the remaining rows, so `to` needs room for more.
    """
    if vectors == 1 and rows > ROWS + HALF:
        multiply_block(TALL, 1, left, right, counts, to)
        return TALL
    if rows > HALF:
        if vectors == 3:
            multiply_block(ROWS, 3, left, right, counts, to)
        elif vectors == 2:
            multiply_block(ROWS, 2, left, right, counts, to)
        else:
            multiply_block(ROWS, 1, left, right, counts, to)
        return ROWS
    if vectors == 3:
        multiply_block(HALF, 3, left, right, counts, to)
    elif vectors == 2:
        multiply_block(HALF, 2, left, right, counts, to)
    else:
        multiply_block(HALF, 1, left, right, counts, to)
    return HALF


@numba.njit(inline="always")
def multiply_pool(columns, vectors, start, left, right, counts, to):
    """Call `multiply_pool_block` for some of the remaining columns; return how many."""
    if vectors == 1 and columns > FOURS:
        multiply_pool_block(TALL_FOURS, 1, start, left, right, counts, to)
        return TALL_FOURS
    if columns >= FOURS:
        if vectors == 3:
            multiply_pool_block(FOURS, 3, start, left, right, counts, to)
        elif vectors == 2:
            multiply_pool_block(FOURS, 2, start, left, right, counts, to)
        else:
            multiply_pool_block(FOURS, 1, start, left, right, counts, to)
        return FOURS
    if vectors == 3:
        multiply_pool_block(1, 3, start, left, right, counts, to)
    elif vectors == 2:
        multiply_pool_block(1, 2, start, left, right, counts, to)
    else:
        multiply_pool_block(1, 1, start, left, right, counts, to)
    return 1


# code generation: the types are those of llvmlite, which has no annotations


@intrinsic(prefer_literal=True)
def multiply_block(typing, P, V, left, right, counts, to):
    """Set a block of P rows and V vectors to sums of products.

    With left = (a, a0, ap, ai, aj, ak), right = (b, b0, bi, bj, bk),
    counts = (ni, nj, nk) and to = (out, o0, op)::

        out[o0 + p*op + v] = sum over i < ni, j < nj, k < nk of
            a[a0 + p*ap + i*ai + j*aj + k*ak] * b[b0 + v + i*bi + j*bj + k*bk]

    for p < P and every v of V vectors. P and V are literals. a, b and out are flat
    arrays, or pointers, of one floating dtype, the dtype of the sums. All other
    arguments are int.
    """
    rows, vectors = range(P.literal_value), range(V.literal_value)
    signature = types.void(P, V, left, right, counts, to)

    def generate(context, builder, signature, args):
        left, right, counts, to = (
            cgutils.unpack_tuple(builder, value) for value in args[2:]
        )
        write = _Vectors(context, builder, signature.args[2][0])
        a, a0, ap, *steps = left
        offsets = [builder.mul(ap, ap.type(p)) for p in rows]
        sums = write.sums(offsets, vectors, (a, a0, *steps), right, counts)
        out, o0, op = to
        first = write.pointer(out, o0)
        for p in rows:
            row = builder.gep(first, [builder.mul(op, op.type(p))])
            for v in vectors:
                write.store(builder.load(sums[p][v]), row, v)
        return context.get_dummy_value()

    return signature, generate


@intrinsic(prefer_literal=True)
def multiply_pool_block(typing, N, V, start, left, right, counts, to):
    """Set a block of N rows and V vectors to the largest of four sums of products.

    If one of them is NaN, the result is NaN.

    With left = (a, a0, ax, ay, aj, ak), right = (b, b0, bj, bk), counts = (nj, nk) and
    to = (out, o0, on)::

        out[o0 + n*on + v] = max of start and, for x < 2 and y < 2,
            sum over j < nj, k < nk of
                a[a0 + (2*n + x)*ax + y*ay + j*aj + k*ak] * b[b0 + v + j*bj + k*bk]

    for n < N and every v of V vectors. The arguments are like those of
    `multiply_block`.
    """
    rows, vectors = range(N.literal_value), range(V.literal_value)
    signature = types.void(N, V, start, left, right, counts, to)

    def generate(context, builder, signature, args):
        left, right, counts, to = (
            cgutils.unpack_tuple(builder, value) for value in args[3:]
        )
        write = _Vectors(context, builder, signature.args[3][0])
        a, a0, ax, ay, *steps = left
        corners = itertools.product(rows, range(2), range(2))
        offsets = [write.sum_of((ax, 2 * n + x), (ay, y)) for n, x, y in corners]
        sums = write.sums(offsets, vectors, (a, a0, *steps), right, counts)
        out, o0, on = to
        first, least = write.pointer(out, o0), write.spread(args[2])
        for n in rows:
            row = builder.gep(first, [builder.mul(on, on.type(n))])
            for v in vectors:
                corners = [builder.load(sum_[v]) for sum_ in sums[4 * n : 4 * n + 4]]
                write.store(write.largest(least, corners), row, v)
        return context.get_dummy_value()

    return signature, generate


@intrinsic(prefer_literal=True)
def max_block(typing, start, a, a0, ai, aj, ni, nj, out, o0):
    """Set a vector to the largest of several vectors and a number.

    If one of the values is NaN, the result is NaN.

    ``out[o0 + v] = max(start, a[a0 + v + i*ai + j*aj] for i < ni, j < nj)``
    for every v of a vector. a and out are flat arrays of the dtype of start. The code
    is faster if ni and nj are literals.
    """
    index = types.intp
    signature = types.void(a.dtype, a, *[index] * 3, ni, nj, out, index)

    def generate(context, builder, signature, args):
        start, a, a0, ai, aj, ni, nj, out, o0 = args
        write = _Vectors(context, builder, signature.args[1])
        least, at = write.spread(start), write.pointer(a, a0)
        counts = signature.args[5:7]
        if all(isinstance(count, types.IntegerLiteral) for count in counts):
            places = itertools.product(
                *(range(count.literal_value) for count in counts)
            )
            offsets = [write.sum_of((ai, i), (aj, j)) for i, j in places]
            values = [write.load(builder.gep(at, [offset]), 0) for offset in offsets]
            largest = write.largest(least, values)
        else:
            so_far, nan = write.variable(), write.variable(write.bits)
            builder.store(least, so_far)
            with write.loop(ni, (at, ai)) as (at,), write.loop(nj, (at, aj)) as (at,):
                value = write.load(at, 0)
                builder.store(write.larger(builder.load(so_far), value), so_far)
                is_nan = write.either_nan(value, value)
                builder.store(builder.or_(builder.load(nan), is_nan), nan)
            largest = write.set_bits(builder.load(so_far), builder.load(nan))
        write.store(largest, write.pointer(out, o0), 0)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def rectified_block(typing, values, n, threshold, to):
    """Set two vectors to sums of soft-thresholded scaled values, for both signs.

    If one of the values is NaN, both sums are NaN.

    With values = (a, a0, ax, scales, s0), to = (above, below, o0) and
    ``z = a[a0 + v + x*ax] * scales[s0 + x]``::

        above[o0 + v] = sum over x < n of max(z - threshold, 0)
        below[o0 + v] = sum over x < n of max(-z - threshold, 0)

    for every v of a vector. Arrays have the dtype of threshold; the rest are int.
    """
    signature = types.void(values, n, values[0].dtype, to)

    def generate(context, builder, signature, args):
        values, n, threshold, to = args
        a, a0, ax, scales, s0 = cgutils.unpack_tuple(builder, values)
        above, below, o0 = cgutils.unpack_tuple(builder, to)
        write = _Vectors(context, builder, signature.args[0][0])
        least, zero = write.spread(threshold), ir.Constant(write.type, None)
        sums = [write.variable(), write.variable()]
        step = ir.Constant(ax.type, 1)
        pointers = (write.pointer(a, a0), ax), (write.pointer(scales, s0), step)
        with write.loop(n, *pointers) as (at, scale):
            z = builder.fmul(write.load(at, 0), write.spread(builder.load(scale)))
            for way, total in zip((z, builder.fneg(z)), sums, strict=True):
                # NaN in the second of two values stays
                over = write.larger(zero, builder.fsub(way, least))
                builder.store(builder.fadd(builder.load(total), over), total)
        for end, total in zip((above, below), sums, strict=True):
            write.store(builder.load(total), write.pointer(end, o0), 0)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def call(typing, code, pointers, numbers):
    """Call a `skdmn.kernels.numba.shared` function by its address.

    Its arguments are pointers to ``array[offset]`` for each pair of `pointers`, then
    the `numbers`: ints and floats of the types in its signature, in tuples of tuples.
    """
    signature = types.void(code, pointers, numbers)

    def generate(context, builder, signature, args):
        address, pairs, numbers = args
        values = []
        pairs = cgutils.unpack_tuple(builder, pairs)
        for pair, kind in zip(pairs, signature.args[1], strict=True):
            array, offset = cgutils.unpack_tuple(builder, pair)
            start = _data(context, builder, kind[0], array)
            values.append(builder.gep(start, [offset]))
        values += _flat(builder, signature.args[2], numbers)
        # Numba's calling convention: the result, the exception, then the arguments
        nothing = ir.IntType(8).as_pointer()
        ends = [cgutils.alloca_once(builder, nothing) for _ in range(2)]
        values = [*ends, *values]
        function = ir.FunctionType(ir.IntType(32), [value.type for value in values])
        builder.call(builder.inttoptr(address, function.as_pointer()), values)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def at(typing, array, offset):
    """Return a pointer to ``array[offset]``, from an array or a pointer.

    Loops over pointers take less time to compile than loops over slices. The array must
    be an argument of the kernel: Numba frees its own arrays after their last use.
    """
    signature = types.CPointer(array.dtype)(array, types.intp)

    def generate(context, builder, signature, args):
        start = _data(context, builder, signature.args[0], args[0])
        return builder.gep(start, [args[1]])

    return signature, generate


def _flat(builder, kind, value):
    """Return the values of a number, or of tuples of tuples of numbers."""
    if not isinstance(kind, types.BaseTuple):
        return [value]
    parts = zip(kind, cgutils.unpack_tuple(builder, value), strict=True)
    return [number for part in parts for number in _flat(builder, *part)]


def _data(context, builder, array_type, array):
    """Return the pointer to the first value of an array; a pointer stays as it is."""
    if isinstance(array_type, types.CPointer):
        return array
    return context.make_array(array_type)(context, builder, array).data


class _Vectors:
    """Generator of instructions on vectors of the dtype of an array."""

    def __init__(self, context, builder, array_type):
        self.context, self.builder, self.array_type = context, builder, array_type
        scalar = context.get_data_type(array_type.dtype)
        self.size = array_type.dtype.bitwidth // 8
        self.type = ir.VectorType(scalar, VECTOR_BYTES // self.size)
        self.bits = ir.VectorType(ir.IntType(8 * self.size), self.type.count)

    def pointer(self, array, offset):
        start = _data(self.context, self.builder, self.array_type, array)
        return self.builder.gep(start, [offset])

    def sum_of(self, *products):
        """Return the sum of products of steps and constants."""
        parts = [self.builder.mul(step, step.type(count)) for step, count in products]
        return functools.reduce(self.builder.add, parts)

    def variable(self, of_type=None):
        of_type = of_type or self.type
        slot = cgutils.alloca_once(self.builder, of_type)
        self.builder.store(ir.Constant(of_type, None), slot)  # zeros
        return slot

    def _at(self, pointer, number):
        offset = ir.Constant(ir.IntType(64), number * self.type.count)
        start = self.builder.gep(pointer, [offset])
        return self.builder.bitcast(start, self.type.as_pointer())

    def load(self, pointer, number):
        return self.builder.load(self._at(pointer, number), align=self.size)

    def store(self, value, pointer, number):
        self.builder.store(value, self._at(pointer, number), align=self.size)

    def spread(self, scalar):
        undefined, first = ir.Constant(self.type, ir.Undefined), ir.IntType(32)(0)
        lane = self.builder.insert_element(undefined, scalar, first)
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.type.count), None)
        return self.builder.shuffle_vector(lane, undefined, zeros)

    def larger(self, one, other):
        ordered = self.builder.fcmp_ordered(">", one, other)
        return self.builder.select(ordered, one, other)

    def largest(self, start, values):
        """Return the largest of vectors, or NaN if one of the values is NaN.

        The instruction for the larger of two values loses NaN in one of them. One
        comparison finds NaN in a pair of values.
        """
        largest = functools.reduce(self.larger, values, start)
        pairs = itertools.zip_longest(values[::2], values[1::2], fillvalue=values[-1])
        nan = functools.reduce(
            self.builder.or_, [self.either_nan(*pair) for pair in pairs]
        )
        return self.set_bits(largest, nan)

    def either_nan(self, one, other):
        """Return all bits set if one of two values is NaN, else none."""
        unordered = self.builder.fcmp_unordered("uno", one, other)
        return self.builder.sext(unordered, self.bits)

    def set_bits(self, value, bits):
        """Set bits of a vector; a value with all bits set is NaN."""
        both = self.builder.or_(self.builder.bitcast(value, self.bits), bits)
        return self.builder.bitcast(both, self.type)

    def sums(self, offsets, vectors, left, right, counts):
        """Sum products of the numbers at each offset with vectors."""
        (a, a0, *steps_a), (b, b0, *steps_b), builder = left, right, self.builder
        at_a, at_b = self.pointer(a, a0), self.pointer(b, b0)
        # LLVM keeps these variables in registers
        sums = [[self.variable() for _ in vectors] for _ in offsets]
        with contextlib.ExitStack() as loops:
            for count, step_a, step_b in zip(counts, steps_a, steps_b, strict=True):
                loop = self.loop(count, (at_a, step_a), (at_b, step_b))
                at_a, at_b = loops.enter_context(loop)
            factors = [self.load(at_b, v) for v in vectors]
            for offset, row in zip(offsets, sums, strict=True):
                factor = self.spread(builder.load(builder.gep(at_a, [offset])))
                for total, vector in zip(row, factors, strict=True):
                    product = builder.fmul(factor, vector, flags=_FUSE)
                    added = builder.fadd(builder.load(total), product, flags=_FUSE)
                    builder.store(added, total)
        return sums

    @contextlib.contextmanager
    def loop(self, count, *pointers):
        """Repeat the body, and move each pointer by its step."""
        with cgutils.for_range(self.builder, count) as loop:
            yield [
                self.builder.gep(pointer, [self.builder.mul(loop.index, step)])
                for pointer, step in pointers
            ]
