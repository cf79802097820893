"""Put faults into a copy of the package, one by one, and see that a test fails.

    python tests/reliability/mutants.py            # all of them: some ten minutes
    python tests/reliability/mutants.py softmax    # those in files with this name

`MUTANTS` has two or more faults for each function that users depend on most: a bound
that is off by one, a weight that is ignored, a branch that is never taken. Each names a
test that must fail with the fault, and pass without it. pytest does not run this
script; run it after large changes of a function or of its tests. If a line of the
package has changed, put the fault into the new line.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
COPIED = ("skdmn", "tests", "conftest.py", "pyproject.toml", "CONTRIBUTING.md")


class Mutant(NamedTuple):
    """A fault in a file of skdmn, and the test that must fail with it."""

    file: str
    fault: str
    old: str  # occurs once in the file
    new: str
    tests: str  # the module of tests
    name: str

    @property
    def test(self) -> str:
        """Return the name of the test as pytest takes it."""
        return f"tests/{self.tests}::{self.name}"


M = Mutant
MUTANTS = [
    # second moments of patches: the definition
    M(
        "kernels/reference/moments.py",
        "the shift of bright images is put back on one side only",
        "    outer += cross.T\n",
        "",
        "kernels/test_moments.py",
        "test_unshifted_puts_a_shift_back",
    ),
    M(
        "kernels/reference/moments.py",
        "the last rows of an image count for one entry too many",
        "max(0, bottom - 1 - height + size[0])",
        "max(0, bottom - 2 - height + size[0])",
        "kernels/test_moments.py",
        "test_forms_agree_on_any_shape",
    ),
    # second moments: Numba
    M(
        "kernels/numba/moments.py",
        "the last column of an image is left out",
        "column > last_column + x",
        "column >= last_column + x",
        "kernels/test_numba_moments.py",
        "test_any_number_of_channels",
    ),
    M(
        "kernels/numba/moments.py",
        "a shift that costs digits is kept",
        "if rounded > _WORSE * np.trace(outer):",
        "if rounded > np.inf:",
        "kernels/test_numba_moments.py",
        "test_a_mean_that_suits_few_images_costs_no_digits",
    ),
    M(
        "kernels/numba/moments.py",
        "the sums of the second thread are lost",
        "for other in parts[1:]:\n        parts[0]",
        "for other in parts[2:]:\n        parts[0]",
        "kernels/test_numba_moments.py",
        "test_threads_and_budget_change_nothing",
    ),
    # density matrices from sums
    M(
        "statistics/density.py",
        "the sums of patches are not merged",
        "            self.sums[at] += other.sums\n",
        "            pass\n",
        "statistics/test_density.py",
        "test_batches_order_and_merging_do_not_matter",
    ),
    M(
        "statistics/density.py",
        "the partition function of centred matrices is the raw trace",
        "            trace = np.trace(moments)\n        trace = float",
        "        trace = float",
        "statistics/test_density.py",
        "test_each_class_is_the_second_moment_of_its_valid_patches",
    ),
    # eigenbases and cutoffs
    M(
        "statistics/filters.py",
        "rounding drops a component at the cutoff",
        "<= variance_cutoff + tolerance",
        "<= variance_cutoff",
        "statistics/test_filters.py",
        "test_a_cutoff_at_a_cumulative_share_is_not_lost_to_rounding",
    ),
    M(
        "statistics/filters.py",
        "a cutoff of 1 keeps components without variance",
        "        return n_nonzero\n",
        "        return len(shares)\n",
        "statistics/test_filters.py",
        "test_a_cutoff_of_1_keeps_all_that_has_variance",
    ),
    M(
        "statistics/filters.py",
        "eigenvalues are negative by rounding",
        "np.maximum(values[::-1], 0.0)",
        "values[::-1]",
        "statistics/test_filters.py",
        "test_eigenvalues_beyond_the_rank_are_rounding_and_none_negative",
    ),
    # merging by correlation
    M(
        "statistics/filters.py",
        "a correlation equal to the cutoff merges",
        "cosines.max(axis=1) > cutoff",
        "cosines.max(axis=1) >= cutoff",
        "statistics/test_filters.py",
        "test_a_correlation_cutoff_of_0_keeps_orthogonal_filters",
    ),
    M(
        "statistics/filters.py",
        "a filter is merged into the first similar one, not the most similar",
        "cutoff, cosines.argmax(axis=1), -1",
        "cutoff, (cosines > cutoff).argmax(axis=1), -1",
        "statistics/test_filters.py",
        "test_a_filter_is_merged_into_the_one_that_it_overlaps_most",
    ),
    # signs
    M(
        "statistics/filters.py",
        "the largest entry decides a sign, not the first large one",
        "large.argmax(axis=1)]",
        "magnitudes.argmax(axis=1)]",
        "statistics/test_filters.py",
        "test_signs_follow_the_sum_or_the_first_large_entry",
    ),
    M(
        "statistics/filters.py",
        "the sum decides a sign even if it is close to 0",
        "_CLEAR_SUM = 0.05",
        "_CLEAR_SUM = 0.0",
        "statistics/test_filters.py",
        "test_signs_follow_the_sum_or_the_first_large_entry",
    ),
    # order of energy
    M(
        "statistics/filters.py",
        "rounding decides the order of equal energies",
        "np.argsort(energies.round(9), kind",
        "np.argsort(energies, kind",
        "statistics/test_filters.py",
        "test_energies_equal_to_rounding_are_in_order_of_class_and_rank",
    ),
    M(
        "statistics/filters.py",
        "n_filters cuts before the filters are sorted",
        'np.argsort(energies.round(9), kind="stable")[:n_filters]',
        'np.argsort(energies[:n_filters].round(9), kind="stable")',
        "statistics/test_filters.py",
        "test_n_filters_is_an_upper_bound_on_those_of_lowest_energy",
    ),
    # overlap pruning
    M(
        "statistics/filters.py",
        "a gap of exactly min_gap is wide enough",
        "np.flatnonzero(gaps > min_gap)",
        "np.flatnonzero(gaps >= min_gap)",
        "analysis/density/test_spectrum.py",
        "test_where_no_gap_is_wide_enough_the_widest_is_told",
    ),
    M(
        "layers/overlap.py",
        "noise behind the gap of a linear layer is all that is kept",
        "            support[:] = True\n",
        "",
        "layers/test_overlap.py",
        "test_noise_behind_the_gap_is_kept_with_a_warning",
    ),
    M(
        "layers/overlap.py",
        "energies are of variances, not of mean squares",
        "moments.var + moments.mean**2",
        "moments.var",
        "layers/test_overlap.py",
        "test_energies_are_logs_of_shares_of_the_mean_square",
    ),
    # contrast floor
    M(
        "kernels/reference/contrast.py",
        "the floor of the contrast is not squared",
        "variance + (root / unit) ** 2",
        "variance + root / unit",
        "kernels/test_contrast.py",
        "test_encoding_is_the_loop_over_patches",
    ),
    M(
        "statistics/magnitudes.py",
        "damaged images raise the automatic floor",
        "kept = ~self.outliers",
        "kept = self.counts >= 0",
        "layers/test_damaged_images.py",
        "test_floor_leaves_out_damaged_images_and_says_so",
    ),
    M(
        "statistics/magnitudes.py",
        "most images may be outliers",
        "is_top & (counts > 0)",
        "(n_below > 0) & (counts > 0)",
        "statistics/test_magnitudes.py",
        "test_at_most_a_quarter_of_the_images_are_outliers",
    ),
    M(
        "layers/whitened_pca.py",
        "the automatic floor is the whole mean variance",
        "_FLOOR * variance",
        "variance",
        "layers/test_whitened_pca.py",
        "test_auto_floor_is_a_tenth_of_the_mean_variance_of_a_patch",
    ),
    # whitening
    M(
        "statistics/whitened_filters.py",
        "regularization is not divided by the number of values",
        "np.sqrt(values + regularization / d)",
        "np.sqrt(values + regularization)",
        "statistics/test_whitened_filters.py",
        "test_filters_solve_the_generalized_eigenproblem",
    ),
    M(
        "statistics/whitened_filters.py",
        "filters are given to the wrong groups if one is empty",
        "groups[chosen_groups])",
        "chosen_groups)",
        "statistics/test_whitened_filters.py",
        "test_groups_without_variance_give_no_filters",
    ),
    M(
        "statistics/whitened_filters.py",
        "cells on the right are not flipped before they are averaged",
        "both = opposite[mirror][:, mirror]",
        "both = opposite.copy()",
        "network/test_mirror_images.py",
        "test_filters_of_mirror_images_are_the_same",
    ),
    # encoding
    M(
        "kernels/reference/contrast.py",
        "the threshold has no effect on negative products",
        "xp.concat([products, -products], axis=1) - how.threshold",
        "xp.concat([products - how.threshold, -products], axis=1)",
        "kernels/test_contrast.py",
        "test_encoding_is_the_loop_over_patches",
    ),
    M(
        "kernels/numba/contrast.py",
        "windows at the border are divided by the pixels of a whole window",
        "n_rows = lower - max(upper, 0)",
        "n_rows = g.window_height",
        "kernels/test_contrast.py",
        "test_kernel_is_the_definition",
    ),
    M(
        "kernels/numba/contrast.py",
        "a row of averages is left in the sums of the next one",
        "            under[f] = 0.0\n",
        "",
        "kernels/test_contrast.py",
        "test_kernel_is_the_definition",
    ),
    # convolution and max pooling
    M(
        "kernels/numba/convolution.py",
        "a linear layer is rectified where it is pooled",
        '0 if activation == "relu" else -np.inf',
        "0",
        "kernels/test_numba_convolution.py",
        "test_windows_overlap_or_leave_gaps",
    ),
    M(
        "kernels/numba/convolution.py",
        "a row below the image takes part in the maximum",
        "if y < g.rows:",
        "if y <= g.rows:",
        "kernels/test_numba_convolution.py",
        "test_windows_overlap_or_leave_gaps",
    ),
    M(
        "kernels/reference/convolution.py",
        "padding by 0 wins over negative values in max pooling",
        'padding, -float("inf"))',
        "padding, 0)",
        "kernels/test_convolution.py",
        "test_max_pool_of_negative_images_is_negative",
    ),
    M(
        "kernels/dispatch.py",
        "the kernels for the encoding are never used",
        '        "contrast.encode_and_pool",\n        "contrast.encode_and_pool",\n'
        '        "contrast.encode_and_pool",\n',
        '        "contrast.encode_and_pool",\n        None,\n'
        '        "contrast.encode_and_pool",\n',
        "kernels/test_table.py",
        "test_every_kernel_is_an_entry_of_the_table",
    ),
    # average pooling
    M(
        "kernels/reference/convolution.py",
        "padding counts in the mean of a window",
        "return total(images) / total(inside)",
        "return total(images) / math.prod(size)",
        "layers/test_average_pooling.py",
        "test_same_averages_the_pixels_inside",
    ),
    M(
        "kernels/reference/convolution.py",
        "power pooling loses the signs",
        "xp.copysign(xp.abs(values) ** power, values)",
        "xp.abs(values) ** power",
        "layers/test_average_pooling.py",
        "test_power_keeps_the_sign",
    ),
    # "same" padding
    M(
        "kernels/geometry.py",
        "the odd pixel of padding is on the left and at the top",
        "return total // 2, total - total // 2",
        "return total - total // 2, total // 2",
        "kernels/test_convolution.py",
        "test_same_padding_puts_the_odd_pixel_at_the_bottom_and_right",
    ),
    M(
        "kernels/geometry.py",
        "padding is not 0 if the stride skips pixels",
        "max((positions - 1) * stride + kernel - length, 0)",
        "abs((positions - 1) * stride + kernel - length)",
        "kernels/test_convolution.py",
        "test_same_padding_gives_ceil_of_length_over_stride",
    ),
    # subsample
    M(
        "utils/labels.py",
        "shares are rounded down",
        "np.ceil(counts * subsample - 1e-9)",
        "np.floor(counts * subsample + 1e-9)",
        "layers/test_class_pca_data.py",
        "test_subsample_counts",
    ),
    M(
        "utils/labels.py",
        "rounding adds an image to a share that is whole",
        "np.ceil(counts * subsample - 1e-9)",
        "np.ceil(counts * subsample)",
        "utils/test_labels.py",
        "test_a_share_that_is_whole_but_for_rounding_is_not_rounded_up",
    ),
    M(
        "utils/labels.py",
        "small classes lose their only image",
        "np.where(quotas > 1, quotas - exact, -np.inf)",
        "quotas - exact",
        "utils/test_labels.py",
        "test_small_classes_keep_an_image_at_the_cost_of_large_ones",
    ),
    # merge and partial_fit
    M(
        "layers/base.py",
        "images are added to other classes if partial_fit brings a new label",
        "codes = np.searchsorted(known, labels.classes)[labels.codes]",
        "codes = labels.codes",
        "layers/test_partial_fit.py",
        "test_new_classes_extend_classes",
    ),
    M(
        "layers/base.py",
        "parameters may change between calls of partial_fit",
        "            if now != then[name]:\n",
        "            if name not in then:\n",
        "layers/test_partial_fit.py",
        "test_changed_parameters_are_refused",
    ),
    M(
        "statistics/accumulate.py",
        "merged statistics have the dtype of the first",
        'dtype = max(self.dtype, other.dtype)  # "float64" if one of them is',
        "dtype = self.dtype",
        "layers/test_merge.py",
        "test_statistics_of_float64_and_float32_make_a_layer_of_float64",
    ),
    # memory=
    M(
        "statistics/accumulate.py",
        "the cache does not notice other labels",
        'ignore=["images", "report"]',
        'ignore=["images", "codes", "report"]',
        "layers/test_memory.py",
        "test_other_inputs_are_computed_again",
    ),
    M(
        "layers/base.py",
        "an unseeded subsample is cached",
        'getattr(self, "memory", None) if labels.is_repeatable else None',
        'getattr(self, "memory", None)',
        "layers/test_memory.py",
        "test_an_unseeded_subsample_is_not_cached",
    ),
    M(
        "data/images.py",
        "the cache does not notice another subsample",
        "joblib.hash(np.ascontiguousarray(to_numpy(self.read(some))))",
        "joblib.hash(np.ascontiguousarray(to_numpy(self.data[some])))",
        "layers/test_memory.py",
        "test_a_seeded_subsample_is_cached",
    ),
    # softmax
    M(
        "kernels/numba/softmax.py",
        "the weight of a row is ignored in the gradient of its own class",
        "    scores[code] -= weight\n",
        "    scores[code] -= 1\n",
        "kernels/test_numba_softmax.py",
        "test_rows_without_weight_are_as_if_they_were_not_there",
    ),
    M(
        "kernels/numba/softmax.py",
        "large logits of two classes overflow",
        "math.exp(-abs(score))",
        "math.exp(-score)",
        "kernels/test_numba_softmax.py",
        "test_two_classes_are_exact_at_both_ends",
    ),
    M(
        "linear_model/objective.py",
        "the intercept is penalized",
        "means[:, :-1] += self.penalty * iterate[:, :-1]",
        "means += self.penalty * iterate",
        "linear_model/test_objective.py",
        "test_gradient_is_that_of_the_value",
    ),
    M(
        "linear_model/objective.py",
        "weights do not count in the variance of features",
        "part_var = to_numpy(w @ (values * values)) - rest**2",
        "part_var = to_numpy((values * values).mean(0)) - rest**2",
        "linear_model/test_objective.py",
        "test_moments_are_exact_for_bright_columns",
    ),
    # confirmation by the Hessian
    M(
        "linear_model/solver.py",
        "the solver believes its own estimate",
        "        if optimizer.suboptimality == 0:\n",
        "        if optimizer.suboptimality <= self.tol * optimizer.values[-1]:\n",
        "linear_model/test_objective.py",
        "test_an_estimate_that_is_too_small_is_not_confirmed",
    ),
    M(
        "linear_model/solver.py",
        "the decrease of the quadratic model is twice as large",
        "gains.append(length * product / 2)",
        "gains.append(length * product)",
        "linear_model/test_objective.py",
        "test_conjugate_gradients_minimize_the_quadratic_model",
    ),
    M(
        "kernels/reference/softmax.py",
        "the Hessian has no blocks between classes",
        "rest = p * (change - mean) * weights[:, None]",
        "rest = p * (change - p * change) * weights[:, None]",
        "linear_model/test_objective.py",
        "test_the_hessian_is_the_slope_of_the_gradient",
    ),
    # features on disk
    M(
        "network/writing.py",
        "a batch that was split counts as written",
        "done = n if some.stop == n else some.stop - some.stop % size",
        "done = some.stop",
        "network/test_writing.py",
        "test_memory_that_runs_out_costs_nothing_but_time",
    ),
    M(
        "network/writing.py",
        "rows of another network are gone on with",
        'said += ["by another network"] * (self.network != asked.network)',
        "said += []",
        "network/test_writing.py",
        "test_other_features_are_refused",
    ),
    # operations: fusion and simplification
    M(
        "operations/fusion.py",
        "a second pooling replaces the first",
        "MaxPool(window=window) if pool == WHOLE:",
        "MaxPool(window=window):",
        "operations/test_operations.py",
        "test_what_does_not_fuse_stays_apart",
    ),
    M(
        "operations/fusion.py",
        "scaling is folded into a convolution that pads",
        'ScaleChannels(), Convolve(padding="valid") if fold',
        "ScaleChannels(), Convolve() if fold",
        "export/test_to_torch.py",
        "test_scaling_is_folded_where_that_changes_nothing",
    ),
    # mirrored networks
    M(
        "operations/records.py",
        "images are flipped upside down",
        "xp.flip(images, axis=2)",
        "xp.flip(images, axis=1)",
        "operations/test_operations.py",
        "test_average_over_flips_of_a_step",
    ),
    M(
        "network/network.py",
        "layers of a mirrored network are not mirrored",
        "            layer.mirrored = True\n",
        "            pass\n",
        "network/test_mirror_images.py",
        "test_layers_and_network_do_not_differ_unseen",
    ),
    # exports
    M(
        "export/onnx.py",
        "padding counts in averages",
        "count_include_pad=0",
        "count_include_pad=1",
        "test_common.py",
        "test_onnx_computes_the_same",
    ),
    M(
        "export/onnx.py",
        "the means of the classifier are left out",
        "operation.intercept - operation.coef @ operation.mean",
        "operation.intercept",
        "test_common.py",
        "test_onnx_computes_the_same",
    ),
    M(
        "export/torch.py",
        "scales have the epsilon that torch adds",
        "np.sqrt(scale**2 + norm.eps) / scale",
        "np.ones_like(scale)",
        "export/test_to_torch.py",
        "test_batch_normalization_is_in_evaluation_mode_and_exact_without_variance",
    ),
    M(
        "export/torch.py",
        "one-sided padding is on both sides",
        "ceil_mode=begin and not around",
        "ceil_mode=False",
        "export/test_to_torch.py",
        "test_gives_what_the_pipeline_gives",
    ),
    # Dask
    M(
        "distributed/layers.py",
        "blocks without some class add their sums to another one",
        "total.merge(sums, np.searchsorted(present, codes))",
        "total.merge(sums, np.arange(len(codes)))",
        "distributed/test_distributed.py",
        "test_whitened_filters_are_those_of_one_process",
    ),
    M(
        "distributed/blocks.py",
        "samples of later blocks are taken at their index in the whole",
        "some - (end - size)",
        "some - (end - size) * (end == size)",
        "distributed/test_distributed.py",
        "test_the_floor_of_all_patches_is_summed_up_first",
    ),
    M(
        "distributed/blocks.py",
        "joined blocks exceed their largest size by one block",
        "if total and total + size > most:",
        "if total > most:",
        "distributed/test_distributed.py",
        "test_small_neighbouring_blocks_are_joined",
    ),
    # readers
    M(
        "datasets/files.py",
        "planes of colours are read as pixels",
        "np.moveaxis(rows.reshape(-1, *CIFAR_SHAPE), 1, -1)",
        "rows.reshape(-1, *size, channels)",
        "datasets/test_cifar.py",
        "test_channels_are_red_green_blue",
    ),
    M(
        "datasets/files.py",
        "the label after the last class is accepted",
        "(labels < 0) | (labels >= n_classes)",
        "(labels < 0) | (labels > n_classes)",
        "datasets/test_idx.py",
        "test_wrong_idx_files",
    ),
    M(
        "datasets/files.py",
        "a file that is too long is read",
        "if not size or len(data) - start != size:",
        "if not size or len(data) - start < size:",
        "datasets/test_idx.py",
        "test_wrong_idx_files",
    ),
    # theory
    M(
        "analysis/density/spectrum.py",
        "cells count alike, however many patches they have",
        "to_numpy(layer.partition_functions_) * to_numpy(layer.n_patches_)",
        "to_numpy(layer.partition_functions_)",
        "display/test_spectrum_display.py",
        "test_cells_of_a_whitened_layer_are_combined",
    ),
    M(
        "analysis/density/spectrum.py",
        "energies of the Hamiltonian are in the opposite order",
        "_energies(values)[..., np.newaxis, ::-1]",
        "_energies(values)[..., np.newaxis, :]",
        "analysis/density/test_spectrum.py",
        "test_moments_are_z_times_exp_of_minus_the_hamiltonian",
    ),
    M(
        "analysis/density/convergence.py",
        "the variance between batches is divided by their number",
        "rows @ rows.T / (n - 1)",
        "rows @ rows.T / n",
        "analysis/density/test_convergence.py",
        "test_the_variance_of_three_images_by_hand",
    ),
    M(
        "analysis/deep_linear/modes.py",
        "two layers learn as fast as one",
        "decay = np.exp(-2 * s * t / tau)",
        "decay = np.exp(-s * t / tau)",
        "analysis/deep_linear/test_deep_linear.py",
        "test_one_hidden_layer_is_equation_12_as_printed",
    ),
    M(
        "analysis/deep_linear/learning_rates.py",
        "the curvature has one layer too many",
        "(depth - 1) * s * part",
        "depth * s * part",
        "analysis/deep_linear/test_deep_linear.py",
        "test_curvatures_are_the_eigenvalues_of_the_hessian",
    ),
]


def survivors(mutants: list[Mutant], folder: Path) -> list[Mutant]:
    """Return the mutants whose test passes, on a copy of the package in a folder."""
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / name)
    if not passes({mutant.test for mutant in mutants}, folder):
        sys.exit("A test fails without a fault.")
    found = []
    for mutant in mutants:
        path = Path("skdmn", mutant.file)
        source = (ROOT / path).read_text()
        if source.count(mutant.old) != 1:
            sys.exit(f"{path} has, {source.count(mutant.old)} times: {mutant.old}")
        (folder / path).write_text(source.replace(mutant.old, mutant.new))
        # kernels of other sources would replace those of the copy
        cache = folder / "compiled" if "kernels/numba" in mutant.file else None
        survived = passes({mutant.test}, folder, cache)
        shutil.copy2(ROOT / path, folder / path)
        found += [mutant] * survived
        print("SURVIVES" if survived else "falls   ", f"{mutant.file}: {mutant.fault}")
    return found


def passes(tests: set[str], folder: Path, cache: Path | None = None) -> bool:
    """Return True if tests pass on the copy, False if one fails."""
    # no bytecode, because a fault may leave the size of a file as it is
    environment = {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    if cache:
        environment["NUMBA_CACHE_DIR"] = str(cache)
    options = ["-q", "-x", "-n0", "-p", "no:cacheprovider", "--no-header"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    if run.returncode not in (0, 1):
        sys.exit(run.stdout + run.stderr)
    return run.returncode == 0


if __name__ == "__main__":
    chosen = [m for m in MUTANTS if all(word in m.file for word in sys.argv[1:])]
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(bool(survivors(chosen, Path(temporary))))
