"""What needs an NVIDIA GPU. Not part of `make test`: run it on a machine that has one, with `make gpu`."""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def gpu():
    """Without one these tests prove nothing, so they fail."""
    if not torch.cuda.is_available():
        pytest.fail("these tests need an NVIDIA GPU and a torch built for it")
    print(f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}")
