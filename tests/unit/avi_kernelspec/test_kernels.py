"""When an AVI counts as used."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from avi_kernelspec.kernels import AviKernelManager


@pytest.mark.parametrize(
    ("connections", "state", "in_use"),
    [
        pytest.param(1, "idle", True, id="a page is open"),
        pytest.param(0, "busy", True, id="its page has gone, but the kernel works"),
        pytest.param(0, "idle", False, id="nobody is there"),
        pytest.param(None, "starting", False, id="never connected"),
    ],
)
def test_in_use(connections: int | None, state: str, in_use: bool) -> None:
    manager = AviKernelManager()
    assert not manager.in_use
    manager._kernels = {"k": SimpleNamespace(execution_state=state)}
    manager._kernel_connections = {} if connections is None else {"k": connections}
    assert manager.in_use is in_use
    manager._kernels = {}
