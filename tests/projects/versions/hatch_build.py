import subprocess, sysconfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

class CustomBuildHook(BuildHookInterface):
    def initialize(self, version, build_data):
        name = "ext" + sysconfig.get_config_var("EXT_SUFFIX")
        subprocess.run(["cc", "-shared", "-fPIC", "ext.c", "-o", name], check=True)
        build_data["force_include"][name] = name
        build_data["infer_tag"] = True
        build_data["pure_python"] = False
