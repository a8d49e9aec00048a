import base64, hashlib, os, pathlib, subprocess, sys, sysconfig, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    version, kind = os.environ["CHAOS_VERSION"], os.environ["CHAOS_KIND"]
    with open(os.path.join(os.environ["CHAOS_COUNT"], kind), "a") as count:
        count.write("built\n")
    include = sysconfig.get_path("include")
    cc = ["cc", "-O2", "-shared", "-fPIC", f"-I{include}", "chaos.c", "-o", "module"]
    subprocess.run(cc, check=True)
    tag = "-".join(["cp{0}{1}".format(*sys.version_info)] * 2)
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    name = f"chaos-{version}-{tag}-{platform}.whl"
    info = f"chaos-{version}.dist-info"
    members = {
        "chaos" + sysconfig.get_config_var("EXT_SUFFIX"): pathlib.Path("module").read_bytes(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: chaos\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: chaos\nRoot-Is-Purelib: false\n"
                         f"Tag: {tag}-{platform}\n".encode(),
    }
    record = ""
    for member, data in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record += f"{member},sha256={digest},{len(data)}\n"
    members[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    with zipfile.ZipFile(os.path.join(folder, name), "w") as archive:
        for member, data in members.items():
            archive.writestr(zipfile.ZipInfo(member), data)
    return name
