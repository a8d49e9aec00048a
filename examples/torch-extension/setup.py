"""The extension module; everything static is in pyproject.toml.

FORCE_CUDA            1 or 0: with or without the CUDA kernels; unset: if torch and a toolkit have CUDA
TORCH_CUDA_ARCH_LIST  the GPUs that the kernels are for, as for every torch extension
RMSNORM_STABLE_ABI    2.12: the stable ABIs of libtorch and Python; serves that torch and all later ones
"""

from __future__ import annotations

import os

import torch
from setuptools import setup
from torch.utils.cpp_extension import CUDA_HOME, BuildExtension, CppExtension, CUDAExtension

HAS_CUDA = torch.version.cuda is not None and CUDA_HOME is not None
WITH_CUDA = os.environ.get("FORCE_CUDA", str(int(HAS_CUDA))) == "1"
STABLE_ABI = os.environ.get("RMSNORM_STABLE_ABI", "")

macros = []
sources = ["csrc/module.cpp", "csrc/stable.cpp" if STABLE_ABI else "csrc/libtorch.cpp"]
if WITH_CUDA:
    macros += [("WITH_CUDA", None), ("USE_CUDA", None)]  # USE_CUDA: shim.h has CUDA's functions
    sources.append("csrc/kernels.cu")
if STABLE_ABI:
    major, minor = map(int, STABLE_ABI.split("."))
    macros.append(("TORCH_TARGET_VERSION", f"0x{major:02x}{minor:02x}000000000000"))

setup(
    ext_modules=[
        (CUDAExtension if WITH_CUDA else CppExtension)(
            "rmsnorm._C",
            sources,
            include_dirs=[os.path.abspath("csrc")],
            define_macros=macros,
            extra_compile_args={"cxx": ["-O3", "-fvisibility=hidden"], "nvcc": ["-O3"]},
            py_limited_api=bool(STABLE_ABI),
        )
    ],
    cmdclass={"build_ext": BuildExtension},
    options={"bdist_wheel": {"py_limited_api": "cp310"}} if STABLE_ABI else {},
)
