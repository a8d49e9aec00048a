"""Where the CUDA toolkits of targets can come from on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.doctor.check import Check, failure, passed, warning
from orchestrator.models.target import CudaSource
from orchestrator.plan.devices import index_fault
from orchestrator.provision.cuda import host_toolkits, is_version

if TYPE_CHECKING:
    from collections.abc import Mapping


def check_cuda(wanted: str, source: CudaSource | None, environ: Mapping[str, str]) -> Check:
    """Check where a version of CUDA can come from; an image is asked when its target is built."""
    name = f"CUDA {wanted}"
    if source is CudaSource.IMAGE:
        return passed(name, "comes from the image (build.cuda)")
    own = host_toolkits(environ, wanted) if source is not CudaSource.INDEX else ()
    found = next((each for each in own if is_version(each.version, wanted)), None)
    fault = index_fault(wanted)
    if found is not None:
        return passed(name, f"nvcc {found.version} of this host, {found.root}")
    if source is CudaSource.HOST:
        fix = "install it, and name its directory by CUDA_HOME"
        return failure(name, f"this host has no nvcc {wanted}", fix)
    if not fault:
        return passed(name, "the package index has it: wheels, fetched when they are needed")
    fix = "name an image that has it, or install it here and name its directory by CUDA_HOME"
    return warning(name, f"this host has no nvcc {wanted}, and {fault}", fix)
