"""What `doctor` says about the CUDA of targets."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.doctor import cuda_check
from orchestrator.doctor.check import CheckLevel
from orchestrator.doctor.cuda_check import check_cuda
from orchestrator.models.target import CudaSource
from orchestrator.provision.cuda import HostToolkit

OWN = HostToolkit(root=Path("/opt/cuda"), version="12.6.85", build="b")


@pytest.mark.parametrize(
    ("wanted", "source", "level", "detail"),
    [
        ("12.6", None, CheckLevel.OK, "nvcc 12.6.85 of this host, /opt/cuda"),
        ("12.6", CudaSource.IMAGE, CheckLevel.OK, "comes from the image"),
        ("13.0", None, CheckLevel.OK, "the package index has it"),
        ("13.0", CudaSource.INDEX, CheckLevel.OK, "the package index has it"),
        ("13.0", CudaSource.HOST, CheckLevel.FAIL, "this host has no nvcc 13.0"),
        ("12.8", None, CheckLevel.WARN, "the package index has no nvcc of CUDA 12.8"),
    ],
)
def test_each_cuda_is_said_to_come_from_somewhere(
    monkeypatch: pytest.MonkeyPatch,
    wanted: str,
    source: CudaSource | None,
    level: CheckLevel,
    detail: str,
) -> None:
    monkeypatch.setattr(cuda_check, "host_toolkits", lambda *_: (OWN,))
    check = check_cuda(wanted, source, {})
    assert (check.name, check.status) == (f"CUDA {wanted}", level)
    assert detail in check.detail
    assert bool(check.fix) is (level is not CheckLevel.OK)
