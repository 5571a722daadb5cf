"""The floating-point type follows what a processor says of itself."""

from pathlib import Path

import pytest
import torch

from vertseg.networks.devices import fastest_precision

ZEN3 = "fpu sse4_2 avx avx2 fma"
ZEN4 = "fpu avx2 avx512f avx512_bf16"
SAPPHIRE_RAPIDS = "fpu avx512f amx_bf16 amx_tile amx_int8"


@pytest.mark.parametrize(
    ("cores", "precision"),
    [
        ([ZEN3, ZEN3], "fp32"),
        ([ZEN4, ZEN4], "bf16"),
        ([SAPPHIRE_RAPIDS], "bf16"),
        ([ZEN4, ZEN3], "fp32"),
        (["fpu avx512f avx512_bf16x"], "fp32"),
        ([], "fp32"),
    ],
)
def test_a_cpu_trains_in_bf16_only_if_all_its_cores_compute_in_it(
    tmp_path: Path, cores: list[str], precision: str
) -> None:
    described = tmp_path / "cpuinfo"
    described.write_text(
        "\n\n".join(
            f"processor\t: {number}\nmodel name\t: avx512_bf16\nflags\t\t: {flags}\nbugs\t\t: none"
            for number, flags in enumerate(cores)
        )
    )
    assert fastest_precision(torch.device("cpu"), described) == precision


def test_a_gpu_trains_in_fp16_and_an_undescribed_cpu_in_fp32(tmp_path: Path) -> None:
    assert fastest_precision(torch.device("cuda"), tmp_path / "missing") == "fp16"
    assert fastest_precision(torch.device("cpu"), tmp_path / "missing") == "fp32"
