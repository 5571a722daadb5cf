"""The table of what a run's steps took."""

from pathlib import Path

import pytest

from vertseg.core.errors import UserError
from vertseg.evaluation.run_cost import collect_benchmarks

HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
LONG = HEADER + "120.5\t0:02:00\t800.0\t9\t9\t9\t1.5\t2.5\t150.0\t180.0\n"
SHORT = HEADER + "0.2\t0:00:00\tNA\tNA\tNA\tNA\tNA\tNA\tNA\tNA\n"


def test_jobs_are_named_after_their_files_longest_first(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "audit.tsv").write_text(SHORT)
    (tmp_path / "train/unet_fold0.tsv").write_text(LONG)
    table = collect_benchmarks(tmp_path)
    assert table[["rule", "job"]].to_numpy().tolist() == [["train", "unet_fold0"], ["audit", ""]]
    assert table["seconds"].tolist() == [120.5, 0.2]
    first = table.iloc[0]
    assert (first["cpu_seconds"], first["peak_memory_mb"], first["written_mb"]) == (180, 800, 2.5)
    assert table.loc[1, "peak_memory_mb":].isna().all()


def test_no_benchmarks_are_an_empty_table(tmp_path: Path) -> None:
    assert collect_benchmarks(tmp_path).empty


@pytest.mark.parametrize("content", ["", "a\tb\n1\t2\n"])
def test_a_file_that_is_no_benchmark_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "odd.tsv").write_text(content)
    with pytest.raises(UserError, match=r"odd\.tsv: not a benchmark table"):
        collect_benchmarks(tmp_path)
