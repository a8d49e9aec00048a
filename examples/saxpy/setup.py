"""The variant's extension modules; everything static is in pyproject.toml."""

from __future__ import annotations

import os
from pathlib import Path

from saxpy_cuda import (
    HOST_FLAGS,
    compiler,
    nvcc_command,
    requested_archs,
    requested_cuda,
    runtime_requirements,
    toolkit,
)
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CUDA = requested_cuda(os.environ)
ARCHS = requested_archs(os.environ) if CUDA else []

HEADERS = ["csrc/saxpy_method.hpp", "csrc/cuda_kernel.hpp"]
KERNEL = "csrc/cuda_kernel.cu"
CFLAGS = [*HOST_FLAGS, "-std=c++17", "-Wall", "-Wextra"]
# No symbol table: nvcc leaves names there that differ from build to build (a temporary file's)
# and from folder to folder.
LDFLAGS = ["-Wl,-s"]


class BuildExt(build_ext):
    """build_ext that can compile CUDA, and leaves no path of this machine in the modules."""

    def build_extensions(self) -> None:
        """Build all modules, without the run paths that the interpreter was built with."""
        for linker in ("linker_so", "linker_so_cxx"):
            words = getattr(self.compiler, linker, [])
            # Interpreters built from source often carry their own prefix here (LDSHARED).
            kept = [w for w in words if not w.startswith(("-Wl,-rpath,", "-Wl,-rpath="))]
            setattr(self.compiler, linker, kept)
        super().build_extensions()

    def build_extension(self, ext: Extension) -> None:
        """Build one module; the CUDA one gets its kernels and the runtime library first."""
        if CUDA and ext.name == "saxpy._cuda":
            self._add_cuda(ext, CUDA)
        super().build_extension(ext)

    def _add_cuda(self, ext: Extension, cuda: str) -> None:
        root = toolkit(cuda, os.environ)
        major = cuda.partition(".")[0]
        kernel = str(Path(self.build_temp, "cuda_kernel.o"))
        self.mkpath(self.build_temp)
        nvcc = compiler(root, os.environ)
        os.environ["CUDA_HOME"] = str(root)  # for a program in nvcc's place: this one is meant
        self.spawn(nvcc_command(nvcc, KERNEL, kernel, ARCHS))
        ext.extra_objects = [kernel]
        ext.include_dirs = [str(root / "include")]
        ext.extra_link_args = [
            *LDFLAGS,
            # By path: the wheel has no libcudart.so that -lcudart would look for.
            str(root / "lib" / f"libcudart.so.{major}"),
            # Where pip installs that wheel's library, seen from site-packages/saxpy.
            f"-Wl,--enable-new-dtags,-rpath,$ORIGIN/../nvidia/cu{major}/lib",
        ]


def module(name: str, source: str) -> Extension:
    """Return the extension module `saxpy.<name>`."""
    return Extension(
        f"saxpy.{name}",
        sources=[source],
        depends=HEADERS,
        language="c++",
        extra_compile_args=CFLAGS,
        extra_link_args=LDFLAGS,
    )


modules = [module("_cpu", "csrc/cpu.cpp")]
if CUDA:
    modules.append(module("_cuda", "csrc/cuda.cpp"))

setup(
    version=os.environ.get("BUILD_VERSION") or "1.0.0",
    install_requires=runtime_requirements(CUDA),
    ext_modules=modules,
    cmdclass={"build_ext": BuildExt},
    options={
        # One folder a variant: in a shared one, a CPU wheel would take along the _cuda module
        # that an earlier build left there.
        "build": {"build_base": f"build/cu{CUDA.replace('.', '')}" if CUDA else "build/cpu"},
        # Objects depend on SAXPY_CUDA_ARCHS too, which time stamps do not tell.
        "build_ext": {"force": "1"},
    },
)
