"""Training in four bits reaches for no network, also on CPUs for which bitsandbytes would fetch a kernel from a hub."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# With AVX512-BF16, importing bitsandbytes tries `kernels.get_kernel("kernels-community/…")`. This process has such a CPU and
# dies at the first look-up or connection.
PROGRAM = """
import ctypes, os, sys
from pathlib import Path

def deny(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        print("network:", event, arguments, file=sys.stderr, flush=True)
        os._exit(9)

sys.addaudithook(deny)
symbol = ctypes.CDLL.__getattr__
ctypes.CDLL.__getattr__ = lambda lib, name: (lambda: True) if name == "has_avx512bf16_cpu" else symbol(lib, name)

from clara_trainer.settings import Settings
Settings.from_env({"CLARA_SCRATCH_DIR": sys.argv[1]}).prepare_process(os.environ)

from bitsandbytes.functional import has_avx512bf16
from trained import a_run, adapted, learn, logits
assert has_avx512bf16()
model = adapted(a_run(Path(sys.argv[1]), "qlora"))
learn(model, steps=2)
logits(model)
losses = learn(model, steps=5)
assert losses[-1] < losses[0]
"""


def test_four_bits_touch_no_network(tmp_path):
    env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT / "tests"), *sys.path])
    program = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(program, env=env, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (
        "kernels-community" in done.stderr
    )  # it went where the kernel would be fetched, and had nothing to fetch it with


def test_the_lock_holds_nothing_that_fetches_kernels():
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    names = {package["name"] for package in lock["package"]}
    assert "bitsandbytes" in names
    assert "kernels" not in names
