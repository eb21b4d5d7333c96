"""Build Clara's images with buildah and push them to the registry. Called by `make images`; standard library only.

    python3 images/build.py                    build what is missing, push what the registry lacks
    python3 images/build.py --print-values     only print the Helm values that name the images
    python3 images/build.py --variant gpu      keep CUDA in operator, gateway and trainer; the engine is built for the CPU only

CLARA_REGISTRY   where to push; without it the local cluster's registry
BASE_IMAGE       another start than debootstrap, for example debian:bookworm-slim

A layer's tag is the digest of what makes it: a second checkout builds nothing again, and a code change moves only the last
layer. The values of the last build are in .cluster/images.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from clara_images.content import IMAGES, ROOT, chosen
from clara_images.layers import Build
from clara_images.tools import Problem, prerequisites


def main() -> int:
    """Exit 1 when a person has to put something right, and say what."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--print-values", action="store_true", help="build nothing, print the Helm values")
    parser.add_argument("--variant", choices=("cpu", "gpu"), default="cpu", help="default: cpu")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(IMAGES)}; default: all")
    options = parser.parse_args()
    registry = os.environ.get("CLARA_REGISTRY", "198.18.0.1:5000")
    base_image = os.environ.get("BASE_IMAGE", "")
    build = Build(registry, options.variant, base_image)
    try:
        names = chosen(options.names, options.variant)
        if not options.print_values:
            prerequisites(("buildah",) if base_image else ("buildah", "debootstrap"))
            for name in names:
                build.publish(name)
        values = json.dumps({"images": {name: build.reference(name) for name in chosen([], options.variant)}}, indent=1)
    except Problem as problem:
        print(f"\n{problem}", file=sys.stderr)
        return 1
    if options.print_values:
        print(values)
    else:
        (ROOT / ".cluster").mkdir(exist_ok=True)
        (ROOT / ".cluster" / "images.json").write_text(values)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
