"""Which libraries the Mach-O and PE files of a wheel need, and who has them.

macOS: dyld's rules ("dyld" in section 1 of the manual). A library comes from the system, or from
where its install name leads in the wheel. Windows: a DLL comes from Windows, from Python, or is
anywhere in the wheel, as packages tell Windows at run time where their DLLs are.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from orchestrator.wheel.binary import BinaryKind
from orchestrator.wheel.binary_tags import MACOS, WINDOWS
from orchestrator.wheel.elf_requirements import UnreachableLibrary, installed
from orchestrator.wheel.pe import PYTHON_DLL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orchestrator.wheel.budget import Budget
    from orchestrator.wheel.scan import BinaryMember

SYSTEM_FOLDERS = ("/usr/lib/", "/System/")
"""Where macOS has its own libraries; many of them are in no file of their own."""

_STEP_BYTES = 64

_PYTHONS_OWN = re.compile(r"vcruntime140(_1)?\.dll|libpypy[\d.]+-c\.dll|python-native\.dll")
"""What a Python for Windows has beside its own DLLs. Not msvcp140.dll, the library of C++."""

_API_SET = re.compile(r"(api|ext)-ms-[\w-]+\.dll")
_WINDOWS_NAMES = """
    aclui activeds adsldpc advapi32 authz avicap32 avifil32 avrt bcrypt bcryptprimitives
    bluetoothapis bthprops.cpl cabinet certadm certcli cfgmgr32 cldapi clusapi combase comctl32
    comdlg32 comsvcs credui crypt32 cryptbase cryptdlg cryptnet cryptui cryptxml d2d1 d3d10
    d3d10_1 d3d11 d3d12 d3d8 d3d8thk d3d9 d3dcompiler_47 dbgcore dbgeng dbghelp dbgmodel dciman32
    dcomp ddraw ddrawex devobj dhcpcsvc dhcpcsvc6 dinput8 dnsapi dplayx drvstore dsound dsprop
    dsrole dsuiext dwmapi dwrite dxcore dxgi dxva2 eappcfg eappprxy esent evr faultrep fltlib
    fwpuclnt gdi32 gdiplus glu32 gpedit hid hlink httpapi icmp icu icuin icuuc imagehlp imgutil
    imm32 inetcomm iphlpapi iprop kernel32 kernelbase ksuser ktmw32 loadperf logoncli lz32
    magnification mapi32 mf mfcore mfplat mfreadwrite mfsrcsnk mlang mmdevapi mpr mprapi msacm32
    mscms mscoree msdmo msi msimg32 mssign32 mstask msvcp_win msvcrt msvfw32 mswsock ncrypt ndfapi
    netapi32 netsh netutils newdev normaliz ntdll ntdsapi ntmarta odbc32 odbccp32 ole32 oleacc
    oleaut32 oledlg olepro32 opcservices opengl32 p2p pdh powrprof printui propsys psapi quartz
    query qwave rasapi32 rasdlg resutils rpcns4 rpcrt4 rstrtmgr rtworkq samcli scarddlg secur32
    sensapi sensorsapi setupapi sfc shcore shell32 shfolder shlwapi slc snmpapi srclient srvcli
    sspicli sti t2embed tapi32 tbs tdh traffic txfw32 ucrtbase uiautomationcore urlmon user32
    userenv usp10 uxtheme version virtdisk vssapi wcmapi webservices websocket wer wevtapi wimgapi
    winbio windowscodecs windowscodecsext winhttp wininet winmm winscard winspool.drv winsta
    wintrust winusb wkscli wlanapi wlanui wldap32 wmasf wmi wmvcore wofutil ws2_32 wsdapi wsock32
    wtsapi32 wwapi xaudio2_9 xinput1_4 xinput9_1_0 xmllite
"""
_WINDOWS = frozenset(_WINDOWS_NAMES.split())
"""DLLs that every Windows 10 has."""


class BinaryRequirements:
    """What the files that are loaded need.

    Attributes:
        system: whose libraries are not counted.
        outside: library that nothing of the system, of Python or of the wheel provides -> members
            that need it.
        unreachable: libraries that are in the wheel, but not where the loader looks for them.
    """

    def __init__(self, members: Sequence[BinaryMember], budget: Budget) -> None:
        """Look for what each file needs.

        Raises:
            OverBudgetError: they need one another in too many ways.
        """
        self._budget = budget
        self._macos = [each for each in members if each.info.loaded and each.info.system == MACOS]
        self._windows = [
            each for each in members if each.info.loaded and each.info.system == WINDOWS
        ]
        self.system = MACOS if self._macos else WINDOWS
        self._files = {installed(each.name): each.name for each in self._macos}
        self._by_name = {posixpath.basename(path): name for path, name in self._files.items()}
        self._folders = dict.fromkeys(
            folder for each in self._macos for folder in self._run_paths(each)
        )
        self._length = sum(1 + len(folder) // _STEP_BYTES for folder in self._folders)
        missed: dict[UnreachableLibrary, None] = {}
        found: dict[str, dict[str, None]] = {}
        for library, needer in (*self._outside_macos(missed), *self._outside_windows()):
            found.setdefault(library, {})[needer] = None
        self.unreachable = tuple(missed)
        self.outside = tuple((library, tuple(sorted(found[library]))) for library in sorted(found))

    def _outside_macos(self, missed: dict[UnreachableLibrary, None]) -> Iterator[tuple[str, str]]:
        for each in self._macos:
            own = tuple(self._run_paths(each))
            for library in dict.fromkeys(each.info.needed):
                self._budget.spend(1, 0, "libraries")
                if library.startswith(SYSTEM_FOLDERS) or self._leads(each, library, own):
                    continue
                inside = self._by_name.get(posixpath.basename(library))
                if inside is not None and library.startswith("@"):
                    missed[UnreachableLibrary(library, inside, each.name, "")] = None
                else:
                    yield library, each.name

    def _leads(self, member: BinaryMember, library: str, own: Iterable[str]) -> bool:
        """Whether an install name leads to a file of the wheel."""
        start, _, rest = library.partition("/")
        if start == "@loader_path" or (start == "@executable_path" and _is_program(member)):
            return _place(posixpath.dirname(installed(member.name)), rest) in self._files
        if start != "@rpath":
            return False
        # dyld uses the run paths of those files as well that load this one.
        folders = dict.fromkeys((*own, *self._folders))
        steps = (1 + len(rest) // _STEP_BYTES) * len(folders) + self._length
        self._budget.spend(steps, 0, "run paths")
        swift = rest.startswith("libswift") and "/usr/lib/swift" in folders
        return swift or any(_place(folder, rest) in self._files for folder in folders)

    def _run_paths(self, member: BinaryMember) -> Iterator[str]:
        """Yield where a file looks for libraries, relative to the environment or absolute."""
        here = posixpath.dirname(installed(member.name))
        for path in member.info.rpath:
            self._budget.spend(1 + len(path) // _STEP_BYTES, 0, "run paths")
            start, _, rest = path.partition("/")
            if start == "@loader_path" or (start == "@executable_path" and _is_program(member)):
                yield _place(here, rest)
            elif path.startswith("/"):
                yield path.rstrip("/")

    def _outside_windows(self) -> Iterator[tuple[str, str]]:
        names = {posixpath.basename(each.name).casefold() for each in self._windows}
        for each in self._windows:
            for library in dict.fromkeys((*each.info.needed, *each.info.optional)):
                self._budget.spend(1, 0, "libraries")
                name = library.casefold()
                if name not in names and not is_the_systems(name):
                    # Windows starts without what is loaded later, but the code needs it.
                    yield name, each.name


def is_the_systems(library: str) -> bool:
    """Whether macOS or Windows has a library, or a Python for Windows."""
    name = library.casefold()
    pythons = PYTHON_DLL.fullmatch(name) or _PYTHONS_OWN.fullmatch(name)
    windows = name.removesuffix(".dll") in _WINDOWS or _API_SET.fullmatch(name)
    return bool(library.startswith(SYSTEM_FOLDERS) or pythons or windows)


def _is_program(member: BinaryMember) -> bool:
    return member.info.kind is BinaryKind.PROGRAM


def _place(folder: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(folder or ".", path))
