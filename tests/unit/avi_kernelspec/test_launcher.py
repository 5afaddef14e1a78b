from __future__ import annotations

from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager

from avi_kernelspec.kernels import KERNEL, AviKernelSpecManager


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory):
    work = tmp_path_factory.mktemp("work")
    for name in ("ipykernel", "ipykernel_launcher", "launcher", "avi_kernelspec"):
        (work / f"{name}.py").write_text("raise SystemExit('run from the working folder')")
    manager = KernelManager(kernel_name=KERNEL, kernel_spec_manager=AviKernelSpecManager())
    manager.start_kernel(cwd=str(work))
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.context.term()


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        pytest.param("__import__('ipykernel.debugger').debugger._is_debugpy_available", "False", id="no debugger"),
        pytest.param("'_pydevd_bundle' in __import__('sys').modules", "False", id="none loaded"),
        pytest.param("'debugpy' in __import__('sys').modules", "False", id="nothing left behind"),
        pytest.param("__import__('importlib.util').util.find_spec('headers')", "None", id="path"),
        pytest.param("1 + 1", "2", id="it runs code"),
    ],
)  # fmt: skip
def test_a_kernel(client, expression, value):
    reply = client.execute_interactive(
        "", user_expressions={"it": expression}, timeout=30, output_hook=lambda _: None
    )
    assert reply["content"]["user_expressions"]["it"]["data"]["text/plain"] == value


def test_the_kernel_is_not_started_by_a_module_name():
    argv = AviKernelSpecManager().get_kernel_spec(KERNEL).argv
    assert "-m" not in argv
    assert Path(argv[1]).is_file()
