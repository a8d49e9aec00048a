# The least that PEP 517 asks for; the same source makes the same bytes. What a compiler does is not
# counted, so the library is compiled once, before all runs.
import base64, hashlib, os, pathlib, sysconfig, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    version = os.environ["TINY_VERSION"]
    module = "tiny" + sysconfig.get_config_var("EXT_SUFFIX")
    tag = "cp%s-cp%s-linux_%s" % (2 * (sysconfig.get_config_var("py_version_nodot"),) + (os.uname().machine,))
    info = "tiny-" + version + ".dist-info/"
    metadata = "Metadata-Version: 2.1\nName: tiny\nVersion: " + version + "\n"
    wheel = "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: false\nTag: " + tag + "\n"
    files = {
        module: pathlib.Path("tiny.library").read_bytes(),
        info + "METADATA": metadata.encode(),
        info + "WHEEL": wheel.encode(),
    }
    rows = ""
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows += name + ",sha256=" + digest + "," + str(len(data)) + "\n"
    files[info + "RECORD"] = (rows + info + "RECORD,,\n").encode()
    name = "tiny-" + version + "-" + tag + ".whl"
    with zipfile.ZipFile(pathlib.Path(folder, name), "w") as archive:
        for member, data in files.items():
            archive.writestr(zipfile.ZipInfo(member, (2020, 1, 1, 0, 0, 0)), data)
    return name
