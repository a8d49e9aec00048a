# The least that PEP 517 asks for: nothing is downloaded, so that a build takes a second.
import base64, hashlib, os, pathlib, subprocess, sysconfig, time, zipfile
version = os.environ["TINY_VERSION"]
def build_wheel(folder, config_settings=None, metadata_directory=None):
    with open("{built}", "a") as log:
        log.write(version + " ")
    if version.endswith("b") and os.path.exists("{slow}"):
        sleeper = subprocess.Popen(["sleep", "600"])
        pathlib.Path("{slow}").write_text(str(sleeper.pid))
        sleeper.wait()
    module = "tiny" + sysconfig.get_config_var("EXT_SUFFIX")
    include = "-I" + sysconfig.get_path("include")
    subprocess.run(["cc", "-shared", "-fPIC", include, "tiny.c", "-o", module], check=True)
    tag = "{tag}-{tag}-linux_" + os.uname().machine
    info = "tiny-" + version + ".dist-info/"
    files = {{
        module: pathlib.Path(module).read_bytes(),
        info + "METADATA": ("Metadata-Version: 2.1\nName: tiny\nVersion: " + version
                            + "\n").encode(),
        info + "WHEEL": ("Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: false\nTag: "
                         + tag + "\n").encode(),
    }}
    rows = ""
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows += name + ",sha256=" + digest + "," + str(len(data)) + "\n"
    files[info + "RECORD"] = (rows + info + "RECORD,,\n").encode()
    name = "tiny-" + version + "-" + tag + ".whl"
    with zipfile.ZipFile(pathlib.Path(folder, name), "w") as wheel:
        for member, data in files.items():
            wheel.writestr(member, data)
    return name
