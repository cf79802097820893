"""How the GPU kernels divide sums over patches; these tests need no GPU."""

import re
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skdmn.kernels.cuda import jobs
from skdmn.kernels.reference.contrast import cell_edges

SOURCE = files("skdmn.kernels.cuda").joinpath("patches.cu").read_text()


def fields(struct, kind):
    """Return the names of the fields of a struct of the source."""
    struct = SOURCE.split(f"struct {struct} {{")[1].split("};")[0]
    names = re.findall(r"\w+", re.sub(r"//.*", "", struct))
    return tuple(name for name in names if name not in kind.split())


def test_fields_are_those_of_the_structs_in_their_order():
    assert fields("Patches", "int") == jobs.Patches._fields
    assert fields("Job", "long") == jobs.JOB


def test_constants_are_those_of_the_source():
    assert f"__launch_bounds__({jobs.THREADS})" in SOURCE


@settings(deadline=None, max_examples=100)
@given(
    st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(1, 70)),
    st.data(),
    st.booleans(),
)
def test_blocks_stay_within_their_limits_and_cover_all_pairs(shape, data, has_sums):
    size = tuple(data.draw(st.integers(1, length)) for length in shape[:2])
    g = jobs.patches(shape, size, has_sums)
    entries = size[0] * size[1] * shape[2]
    if g is None:
        assert entries > 400
        return
    assert g.entries == entries
    assert (g.rows, g.columns) == (shape[0] - size[0] + 1, shape[1] - size[1] + 1)
    assert g.shared_bytes <= 48 * 1024
    assert g.tile in (4, 8)
    # every entry has a place among those of the threads, and in shared memory
    assert g.tile * g.side >= g.n_entries
    assert g.pitch > g.entries
    assert g.pitch >= g.tile * g.side
    assert g.pitch % 2 == 1
    assert g.lanes >= 1
    assert g.pairs * g.lanes <= jobs.THREADS
    assert g.pairs * g.n_blocks >= g.side * (g.side + 1) // 2
    assert g.at_once >= 8


@settings(deadline=None, max_examples=30)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    cells=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    blocks=st.sampled_from([1, 50, 2**11]),
    part_bytes=st.sampled_from([1, 2**28]),
)
def test_every_patch_of_every_group_is_in_one_job(sizes, cells, blocks, part_bytes):
    g = jobs.patches((6, 7, 2), (3, 2), True)
    rng = np.random.default_rng(0)
    groups = np.split(rng.permutation(sum(sizes)), np.cumsum(sizes)[:-1])
    down, across = cell_edges(g.rows, cells[0]), cell_edges(g.columns, cells[1])
    found = []  # how often each patch is in a job, for each group and cell
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "BLOCKS", blocks)
        patch.setattr(jobs, "PART_BYTES", part_bytes)
        for work in jobs.divided(groups, g, cells):
            for start, end in zip(work.starts, work.starts[1:], strict=False):
                seen = np.zeros((sum(sizes), g.rows, g.columns), int)
                for job in work.jobs[start:end]:
                    job = dict(zip(jobs.JOB, job, strict=True))
                    for patch_ in range(job["first"], job["first"] + job["count"]):
                        line, x = divmod(patch_, job["columns"])
                        image, y = divmod(line, job["rows"])
                        member = work.members[job["members"] + image]
                        seen[member, job["top"] + y, job["left"] + x] += 1
                found.append(seen)
    assert len(found) == len(groups) * cells[0] * cells[1]
    for number, seen in enumerate(found):
        group, cell = divmod(number, cells[0] * cells[1])
        row, column = divmod(cell, cells[1])
        expected = np.zeros_like(seen)
        expected[
            np.ix_(
                groups[group],
                range(down[row], down[row + 1]),
                range(across[column], across[column + 1]),
            )
        ] = 1
        assert (seen == expected).all()


def test_work_is_divided_into_about_as_many_jobs_as_asked_for():
    g = jobs.patches((28, 28, 1), (3, 3), True)
    (work,) = jobs.divided([np.arange(i, 60_000, 10) for i in range(10)], g)
    assert jobs.BLOCKS / 2 < len(work.jobs) <= jobs.BLOCKS + 10
    counts = work.jobs[:, jobs.JOB.index("count")]
    assert counts.sum() == 60_000 * 26 * 26
    assert counts.min() > counts.max() / 2


def test_many_groups_are_computed_in_several_parts():
    g = jobs.patches((32, 32, 3), (6, 6), False)
    groups = list(np.arange(2000).reshape(1000, 2))
    works = list(jobs.divided(groups, g, (4, 4)))
    assert len(works) > 1
    for work in works:
        assert len(work.jobs) * g.part_bytes <= 2 * jobs.PART_BYTES
    assert (np.concatenate([work.members for work in works]) == np.arange(2000)).all()
