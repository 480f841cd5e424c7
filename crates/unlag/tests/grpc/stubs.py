"""Compiles interop.proto into a folder that ends with the process, and imports the result."""

import atexit
import importlib
import pathlib
import shutil
import sys
import tempfile

from grpc_tools import protoc

ECHO_INITIAL = "x-grpc-test-echo-initial"
ECHO_TRAILING = "x-grpc-test-echo-trailing-bin"


def load():
    """Returns the modules of the messages and of the services."""
    here = pathlib.Path(__file__).parent
    out = tempfile.mkdtemp(prefix="unlag-interop-")
    atexit.register(shutil.rmtree, out, ignore_errors=True)
    flags = [f"-I{here}", f"--python_out={out}", f"--grpc_python_out={out}", "interop.proto"]
    if protoc.main(["protoc", *flags]) != 0:
        raise SystemExit("interop.proto does not compile")
    sys.path.insert(0, out)
    return importlib.import_module("interop_pb2"), importlib.import_module("interop_pb2_grpc")
