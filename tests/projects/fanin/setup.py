import os
from setuptools import Extension, setup
floor = os.environ["ABI3_FLOOR"]
setup(
    ext_modules=[
        Extension(
            "fanin._ext", ["ext.c"],
            define_macros=[("Py_LIMITED_API", floor)],
            py_limited_api=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": os.environ["ABI3_TAG"]}},
)
