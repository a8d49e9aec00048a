"""Which failures are tried again: lines as the tools print them."""

# ruff: noqa: E501 - the tools print longer lines

from __future__ import annotations

import pytest

from orchestrator.host.process import Captured
from orchestrator.host.transient_errors import is_transient
from orchestrator.models.result import FailureKind

PASSING = {
    "pip: read timed out": """\
  File "/v/lib/python3.12/site-packages/pip/_vendor/urllib3/response.py", line 449, in _error_catcher
    raise ReadTimeoutError(self._pool, None, "Read timed out.")
pip._vendor.urllib3.exceptions.ReadTimeoutError: HTTPSConnectionPool(host='files.example', port=443): Read timed out.""",
    "pip: connection reset while reading": """\
pip._vendor.urllib3.exceptions.ProtocolError: ("Connection broken: ConnectionResetError(104, 'Connection reset by peer')", ConnectionResetError(104, 'Connection reset by peer'))""",
    "pip: cut off": """\
pip._vendor.urllib3.exceptions.IncompleteRead: IncompleteRead(1024 bytes read, 4096 more expected)""",
    "pip: no connection": """\
ERROR: Could not install packages due to an OSError: HTTPSConnectionPool(host='index.example', port=443): Max retries exceeded with url: /simple/ (Caused by NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection object at 0x7f>: Failed to establish a new connection: [Errno 111] Connection refused'))""",
    "pip: no connection, and so no version": """\
WARNING: Retrying (Retry(total=1, connect=None, read=None, redirect=None, status=None)) after connection broken by 'NewConnectionError('<x>: Failed to establish a new connection: [Errno -3] Temporary failure in name resolution')': /simple/setuptools/
WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken by 'NewConnectionError('<x>: Failed to establish a new connection: [Errno -3] Temporary failure in name resolution')': /simple/setuptools/
ERROR: Could not find a version that satisfies the requirement setuptools>=61 (from versions: none)
ERROR: No matching distribution found for setuptools>=61""",
    "pip: 503": "ERROR: HTTP error 503 while getting https://files.example/numpy-2.0.tar.gz",
    "pip: 502": "pip._vendor.requests.exceptions.HTTPError: 502 Server Error: Bad Gateway for url: https://index.example/simple/",
    "pip in colour": "\x1b[31mERROR: HTTP error 504 while getting https://files.example/x.whl\x1b[0m",
    "pip within the isolated build": """\
  error: subprocess-exited-with-error
  \u2502 exit code: 2
      pip._vendor.requests.exceptions.ConnectionError: HTTPSConnectionPool(host='index.example', port=443): Max retries exceeded""",
    "pip, its lines broken by build": """\
< WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None,
  status=None)) after connection broken by
  'NewConnectionError('<pip._vendor.urllib3.connection.HTTPConnection object
  at 0x7ff8b065cb50>: Failed to establish a new connection: [Errno 111]
  Connection refused')': /simple/setuptools/
< ERROR: Could not find a version that satisfies the requirement setuptools
  (from versions: none)""",
    "uv: timed out": """\
error: Failed to fetch: `https://index.example/simple/setuptools/`
  Caused by: Request failed after 3 retries
  Caused by: error sending request for url (https://index.example/simple/setuptools/)
  Caused by: operation timed out""",
    "uv: 503": """\
  \u00d7 Failed to download `numpy==2.0.0`
  \u251c\u2500\u25b6 Failed to fetch: `https://files.example/numpy.whl`
  \u2570\u2500\u25b6 HTTP status server error (503 Service Unavailable) for url (https://files.example/numpy.whl)""",
    "uv within the isolated build": """\
< error: Request failed after 3 retries in 8.6s
<   cause: Failed to fetch:
  https://index.example/simple/setuptools/
<   cause: HTTP status server error (503 Service Unavailable) for url
  (https://index.example/simple/setuptools/)
ERROR Command '['/opt/orchestrator-native/tools/uv', 'pip', 'install', 'setuptools']' returned""",
    "uv: refused": """\
error: Request failed after 1 retry in 1.4s
  cause: client error (Connect)
  cause: tcp connect error
  cause: Connection refused (os error 111)""",
    "curl: timed out": "curl: (28) Operation timed out after 300000 milliseconds with 0 bytes received",
    "curl: reset": "curl: (56) OpenSSL SSL_read: Connection reset by peer, errno 104",
    "git: no name": "fatal: unable to access 'https://git.example/cutlass.git/': Could not resolve host: git.example",
    "git: 502": "fatal: unable to access 'https://git.example/x/': The requested URL returned error: 502",
    "git: cut off": "error: RPC failed; curl 92 HTTP/2 stream 5 was not closed cleanly: CANCEL (err 8)",
    "dnf": "[MIRROR] zlib.rpm: Curl error (28): Timeout was reached for https://mirror.example/zlib.rpm",
    "apt: no name": "E: Failed to fetch http://deb.example/dists/stable/InRelease  Temporary failure resolving 'deb.example'",
    "apt: 503": "E: Failed to fetch http://deb.example/pool/zlib.deb  503  Service Unavailable [IP: 192.0.2.1 80]",
    "apk": "WARNING: fetching https://dl.example/APKINDEX.tar.gz: temporary error (try again later)",
    "cargo": "  [28] Timeout was reached (Operation too slow. Less than 10 bytes/sec transferred the last 30 seconds)",
    "podman: pull timed out": """\
Trying to pull quay.example/pypa/manylinux_2_28_x86_64:latest...
Error: initializing source docker://quay.example/pypa/manylinux_2_28_x86_64:latest: pinging container registry quay.example: Get "https://quay.example/v2/": dial tcp 192.0.2.1:443: i/o timeout""",
    "podman: registry busy": "Error: initializing source docker://quay.example/x:1: reading manifest 1 in quay.example/x: received unexpected HTTP status: 502 Bad Gateway",
    "podman: cut off": 'Error: copying system image from manifest list: copying blob sha256:abc: Get "https://cdn.example/b": read tcp 192.0.2.1:5->192.0.2.1:443: read: connection reset by peer',
    "docker: pull timed out": 'docker: Error response from daemon: Get "https://registry.example/v2/": net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers).',
    "docker: TLS": 'Error response from daemon: Get "https://registry.example/v2/": net/http: TLS handshake timeout',
    "docker: no answer": "error pulling image configuration: download failed after attempts=6: dial tcp: lookup cdn.example: i/o timeout",
    "docker: too many": "Error response from daemon: toomanyrequests: You have reached your pull rate limit.",
    "docker: gone": "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
    "docker: gone while it ran": 'error during connect: Post "http://%2Fvar%2Frun%2Fdocker.sock/v1.47/exec/1/start": EOF',
    "podman: service gone": "Cannot connect to Podman. Please verify your connection to the Linux system using `podman system connection list`",
    "podman: container gone": 'Error: no container with name or ID "cibuildwheel-1" found: no such container',
    "podman: container stopped": "Error: can only create exec sessions on running containers: container state improper",
    "docker: container gone": "Error response from daemon: No such container: cibuildwheel-1",
    "conmon": "Error: conmon exited prematurely, exit code could not be retrieved: internal libpod error",
    "cibuildwheel: container gone": """\
  File "/t/site-packages/cibuildwheel/oci_container.py", line 477, in call
    raise RuntimeError(msg)
RuntimeError: Failed to read the return code, the container shell has exited""",
    "cibuildwheel: broken pipe": """\
  File "/t/site-packages/cibuildwheel/oci_container.py", line 460, in call
    self.bash_stdin.flush()
BrokenPipeError: [Errno 32] Broken pipe""",
}

LASTING = {
    "a compiler that prints a connection": """\
src/net.cpp:12:5: error: static assertion failed: Connection reset by peer
   12 |     static_assert(false, "Connection reset by peer");""",
    "a compiler, after pip had trouble that passed": """\
WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken by 'ReadTimeoutError("HTTPSConnectionPool(host='x', port=443): Read timed out. (read timeout=15)")': /simple/numpy/
csrc/kernel.cu(12): error: identifier "foo" is undefined""",
    "a compiler, after curl had trouble": """\
curl: (28) Operation timed out
ninja: build stopped: subcommand failed.""",
    "make": "curl: (6) Could not resolve host: x\nmake[2]: *** [Makefile:3: all] Error 1",
    "rust": "error: could not compile `net` (lib) due to 1 previous error\n  [28] Timeout",
    "setuptools": "error: RPC failed; curl 18\nerror: command '/usr/bin/g++' failed with exit code 1",
    "linker": "curl: (7) x\ncollect2: error: ld returned 1 exit status",
    "a test of the project that needs the network": """\
E       requests.exceptions.ConnectionError: HTTPSConnectionPool(host='api.example', port=443): Max retries exceeded
FAILED tests/test_net.py::test_get - requests.exceptions.ConnectionError""",
    "a test that reads from a closed pipe": "BrokenPipeError: [Errno 32] Broken pipe",
    "a test that is told so": "AssertionError: assert 'Connection reset by peer' in log",
    "no such version": """\
ERROR: Could not find a version that satisfies the requirement nosuch==1 (from versions: none)
ERROR: No matching distribution found for nosuch==1""",
    "pip: not found": "ERROR: HTTP error 404 while getting https://files.example/x.whl",
    "pip: forbidden": "pip._vendor.requests.exceptions.HTTPError: 403 Client Error: Forbidden for url: https://x/",
    "pip: an authority nobody knows": "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken by 'SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate'))': /simple/x/",
    "curl: not found": "curl: (22) The requested URL returned error: 404",
    "pip: an authority nobody knows, its lines broken by build": """\
< WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None,
  status=None)) after connection broken by
  'SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]
  certificate verify failed: self-signed certificate'))': /simple/x/""",
    "curl: certificate": "curl: (60) SSL certificate problem: unable to get local issuer certificate",
    "git: not found": "fatal: unable to access 'https://git.example/x/': The requested URL returned error: 403",
    "podman: no such image": "Error: initializing source docker://quay.example/x:1: reading manifest 1 in quay.example/x: manifest unknown",
    "docker: denied": "Error response from daemon: pull access denied for x, repository does not exist or may require 'docker login'",
    "docker: wrong argument": 'Error response from daemon: invalid CPU quota "x"',
    "nothing said": "",
}  # fmt: skip


@pytest.mark.parametrize("said", PASSING.values(), ids=PASSING)
def test_what_may_have_passed_is_tried_again(said: str) -> None:
    assert is_transient(FailureKind.BUILD, said.splitlines())


@pytest.mark.parametrize("said", LASTING.values(), ids=LASTING)
def test_what_would_come_again_is_not(said: str) -> None:
    assert not is_transient(FailureKind.BUILD, said.splitlines())


def test_what_the_engine_told_us_and_not_the_log_counts_too() -> None:
    said = "Error response from daemon: Get: i/o timeout"
    assert Captured(returncode=125, stdout="", stderr=said).may_pass
    assert not Captured(returncode=0, stdout="", stderr=said).may_pass


@pytest.mark.parametrize(
    "kind",
    [
        FailureKind.TIMEOUT,
        FailureKind.CANCELLED,
        FailureKind.DISK,
        FailureKind.BUG,
        FailureKind.BAD_WHEEL,
        FailureKind.CONFIGURATION,
        FailureKind.PURE_WHEEL,
    ],
)
def test_what_has_a_reason_of_its_own_is_not(kind: FailureKind) -> None:
    assert not is_transient(kind, ["curl: (28) Operation timed out"])
