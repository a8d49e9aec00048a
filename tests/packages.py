"""Package indexes with small pure wheels, on loopback."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.fsutil import file_sha256
from orchestrator.host.index_config import PUBLIC_INDEX
from tests.servers import Server, served
from tests.wheelmaker import WheelSpec

ORIGIN = "came_from"
"""The attribute of each module that says which index has the wheel."""


def write_pure(
    folder: Path, name: str, version: str, members: Mapping[str, str], needs: Iterable[str] = ()
) -> Path:
    """Write a pure wheel."""
    required = "".join(f"Requires-Dist: {each}\n" for each in needs)
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{required}"
    return WheelSpec(
        name=name,
        version=version,
        python="py3",
        abi="none",
        platform="any",
        purelib="true",
        members={path: content.encode() for path, content in members.items()},
        extra_info={"METADATA": text.encode()},
    ).write(folder)


def write_wheel(folder: Path, name: str, version: str, *requires: str, origin: str = "") -> Path:
    """Write a wheel with one module, which says its version and where it came from."""
    module = f"{ORIGIN} = {origin!r}\nversion = {version!r}\n"
    return write_pure(folder, name, version, {f"{name}/__init__.py": module}, requires)


def write_torch(folder: Path, version: str, *, cuda: str | None, abi: int = 1) -> Path:
    """Write a torch that has nothing but what tells how it was built."""
    members = {
        "torch/__init__.py": "",
        "torch/version.py": f"__version__ = {version!r}\ncuda = {cuda!r}\nhip = None\n",
        "torch/share/cmake/Torch/TorchConfig.cmake": (
            f'set(TORCH_CXX_FLAGS "-D_GLIBCXX_USE_CXX11_ABI={abi}")\n'
        ),
    }
    return write_pure(folder, "torch", version, members)


@dataclass(frozen=True, kw_only=True)
class Indexes:
    """Two indexes and a directory of wheels.

    Attributes:
        server: serves both.
        root: the directory of both, and of the wheels in ``links``.
        hashed: the indexes that say hashes, as most do.
    """

    server: Server
    root: Path
    hashed: tuple[str, ...] = ("own",)

    def url(self, index: str) -> str:
        return f"{self.server.url}/{index}/"

    def add(self, index: str, name: str, version: str, *requires: str) -> None:
        folder = self.root / index
        folder = folder if index == "links" else folder / name.replace("_", "-")
        write_wheel(folder, name, version, *requires, origin=index)
        if index in self.hashed:
            wheels = {each.name: file_sha256(each) for each in folder.glob("*.whl")}
            links = (f'<a href="{each}#sha256={wheels[each]}">{each}</a>' for each in wheels)
            (folder / "index.html").write_text("<!DOCTYPE html>\n" + "\n".join(links))

    @property
    def env(self) -> Mapping[str, str]:
        """What a user sets: the public index, with `setuptools` of the real one behind it."""
        return {
            "PIP_CONFIG_FILE": "/dev/null",
            "PIP_INDEX_URL": self.url("public"),
            "PIP_EXTRA_INDEX_URL": PUBLIC_INDEX,
            "PIP_FIND_LINKS": str(self.root / "links"),
            "PIP_CONSTRAINT": "",
        }


@contextlib.contextmanager
def indexes(root: Path) -> Iterator[Indexes]:
    for name in ("public", "own", "links"):
        (root / name).mkdir(parents=True)
    with served(root) as server:
        yield Indexes(server=server, root=root)
