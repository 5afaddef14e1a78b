"""Images hold what they promise and nothing that would help an attacker; run restricted, without network."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import pytest
from cyclonedx.validation.json import JsonStrictValidator

from images.build import bill
from images.catalogue import FINAL
from images.engine import LABEL
from images.sbom import SCHEMA
from tests.support.containers import need_image, run

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]
USER_IMAGES = tuple(name for name in FINAL if name.startswith("avi-"))
every_image = pytest.mark.parametrize("name", FINAL)
every_user_image = pytest.mark.parametrize("name", USER_IMAGES)


def python(name: str, code: str, *options: str, limit: float = 300) -> str:
    done = run(name, ["python", "-c", code], options=options, limit=limit)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def about(name: str) -> dict[str, Any]:
    asked = subprocess.run(
        ["docker", "image", "inspect", need_image(name)], check=True, capture_output=True, text=True
    )
    (found,) = json.loads(asked.stdout)
    return dict(found)


@every_image
def test_an_image_says_what_it_is(name: str) -> None:
    config = about(name)["Config"]
    assert config["Entrypoint"][:2] == ["/usr/bin/tini", "--"]
    assert config["Cmd"], "dockerspawner needs one"
    assert config["User"] == ("0" if name == "platform" else "1000:1000")
    assert config["Labels"][LABEL]
    assert config["Labels"]["org.opencontainers.image.title"] == name
    assert not [e for e in config["Env"] if re.search("token|secret|passw|proxy|cert", e, re.I)]


@every_image
def test_nothing_in_an_image_gains_privileges(name: str) -> None:
    argv = ["find", "/", "-xdev", "-type", "f", "(", "-perm", "/6000", ")", "-print"]
    done = run(
        name, argv, options=["--user", "0", "--cap-add", "DAC_READ_SEARCH", "--entrypoint", ""]
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@every_user_image
def test_only_scratch_is_writable_even_without_a_read_only_root(name: str) -> None:
    argv = ["find", "/", "-xdev", "-writable", "-not", "-type", "l", "-print"]
    done = run(name, argv, options=["--read-only=false", "--entrypoint", ""])
    found = {line for line in done.stdout.splitlines() if not line.startswith("/dev")}
    assert found <= {"/home/avi", "/tmp", "/run/lock", "/var/tmp"}


PYC = """
import importlib, sys
for name in sys.argv[1].split(","):
    importlib.import_module(name)
"""


@pytest.mark.parametrize(
    ("name", "modules"),
    [
        ("avi-light", "avi,avi.runner,avi_kernelspec.server,ipykernel.kernelapp,matplotlib.pyplot"),
        ("avi-python", "astropy.table,pandas,scipy.stats,sklearn.linear_model,bokeh.plotting,dask"),
        ("avi-lab", "jupyterlab.labapp,jupyterhub.singleuser,avi"),
        (
            "platform",
            "jupyterhub.app,hub_config.up,gavip_portal.app,jobqueue.app,gavip_archive.app",
        ),
    ],
)
def test_python_compiles_nothing_at_run_time(name: str, modules: str) -> None:
    """`python -v` tells of each module whether it came from a compiled file or had to be compiled."""
    argv = ["python", "-v", "-c", PYC, modules]
    # as on a first run of somebody who may write: nothing is out of date that the user cannot mend
    account = ["--user", "0", "--tmpfs", "/root"] if name == "platform" else []
    options = [*account, "--env", "PYTHONDONTWRITEBYTECODE=", "--entrypoint", ""]
    done = run(name, argv, options=options)
    assert done.returncode == 0, done.stderr[-3000:]
    told = done.stderr.splitlines()
    assert sum(" matches /" in line for line in told) > 100
    # a compiled file is quoted, a source is not (importlib._bootstrap_external.SourceLoader.get_code)
    assert [line for line in told if line.startswith("# code object from /")] == []
    assert [line for line in told if re.match("# (wrote|could not create)", line)] == []


@every_user_image
def test_the_grammar_that_costs_seconds_is_not_there(name: str) -> None:
    code = "import importlib.util as u; print([u.find_spec(n) for n in ('lark', 'rfc3987_syntax')])"
    assert python(name, code) == "[None, None]\n"


@every_user_image
def test_user_code_is_nobody_in_particular(name: str) -> None:
    code = """
import os, pathlib
status = dict(l.split(":\\t") for l in pathlib.Path("/proc/self/status").read_text().splitlines())
print(os.getuid(), os.environ["HOME"], status["CapEff"], status["NoNewPrivs"])
"""
    assert python(name, code).split() == ["1000", "/home/avi", "0" * 16, "1"]


@every_user_image
def test_matplotlib_finds_its_list_of_fonts_ready(name: str) -> None:
    code = """
import os, time, matplotlib
folder = matplotlib.get_cachedir()
assert folder == os.environ.get("MPLCONFIGDIR", "/home/avi/.cache/matplotlib"), folder
from matplotlib import font_manager
path, = [n for n in os.listdir(folder) if n.startswith("fontlist-")]
assert os.stat(os.path.join(folder, path)).st_mtime < time.time()
print(open("/usr/share/gavip/matplotlib/" + path).read() == open(os.path.join(folder, path)).read())
print(os.path.basename(font_manager.findfont("DejaVu Sans")))
"""
    for options in ((), ("--env", "MPLCONFIGDIR=/home/avi/matplotlib")):
        assert python(name, code, *options).split() == ["True", "DejaVuSans.ttf"]


def test_a_process_starts_without_a_home() -> None:
    options = ["--env", "HOME=/nonexistent"]
    assert python("avi-light", "import matplotlib; print('started')", *options) == "started\n"


NOTEBOOK = """
import json, sys, nbformat, papermill
cells = [nbformat.v4.new_code_cell(source) for source in json.loads(sys.argv[1])]
notebook = nbformat.v4.new_notebook(cells=cells)
notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
nbformat.write(notebook, "/home/avi/in.ipynb")
done = papermill.execute_notebook(
    "/home/avi/in.ipynb", "/home/avi/out.ipynb", progress_bar=False, cwd="/home/avi"
)
print("".join(o.get("text", "") for c in done.cells for o in c.get("outputs", [])))
"""


def notebook(name: str, *cells: str) -> str:
    argv = ["python", "-c", NOTEBOOK, json.dumps(cells)]
    done = run(name, argv, options=["--memory", "1g"])
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_a_notebook_runs() -> None:
    assert "42" in notebook("avi-python", "print(6 * 7)")


JAVA = """
public class Distance {
    public static void main(String[] args) {
        System.out.println("distance " + 1000 / Double.parseDouble(args[0]) + " pc");
    }
}
"""


def test_a_notebook_compiles_and_runs_java() -> None:
    told = notebook(
        "avi-java",
        f"import pathlib; pathlib.Path('Distance.java').write_text({JAVA!r})",
        "import subprocess; subprocess.run(['javac', 'Distance.java'], check=True)",
        "print(subprocess.run(['java', 'Distance', '8'], check=True, capture_output=True, text=True).stdout)",
    )
    assert "distance 125.0 pc" in told


FORTRAN = """
subroutine distance(parallax, d)
  real(8), intent(in) :: parallax
  real(8), intent(out) :: d
  d = 1000d0 / parallax
end subroutine
"""


def test_a_notebook_calls_fortran_through_f2py_and_meson() -> None:
    told = notebook(
        "avi-fortran",
        f"import pathlib; pathlib.Path('gaia.f90').write_text({FORTRAN!r})",
        "import subprocess, sys\n"
        "made = subprocess.run([sys.executable, '-m', 'numpy.f2py', '--backend', 'meson', '-c', 'gaia.f90', "
        "'-m', 'gaia'], capture_output=True, text=True)\n"
        "assert made.returncode == 0, made.stdout[-2000:] + made.stderr[-2000:]",
        "import gaia; print('distance', gaia.distance(8.0))",
    )
    assert "distance 125.0" in told


def test_a_fortran_program_compiles_and_runs() -> None:
    source = "print *, 6 * 7\\nend\\n"
    command = f"cd ~ && printf '{source}' > a.f90 && gfortran a.f90 && ./a.out"
    done = run("avi-fortran", ["sh", "-c", command])
    assert (done.stdout.strip(), done.stderr) == ("42", "")


def test_lab_is_there_and_asks_nobody_for_news() -> None:
    code = """
import json, os
from jupyter_core.paths import jupyter_config_path
folders = [os.path.join(p, "labconfig") for p in jupyter_config_path()]
names = [os.path.join(f, "default_setting_overrides.json") for f in folders]
print(json.dumps([json.load(open(n)) for n in names if os.path.exists(n)]))
"""
    (overrides,) = json.loads(python("avi-lab", code))
    assert overrides["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"
    done = run("avi-lab", ["jupyterhub-singleuser", "--version"])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "argv",
    [
        ["git", "--version"],
        ["iptables", "--version"],
        ["mkfs.ext4", "-V"],
        ["mount", "--version"],
        ["umount", "--version"],
        ["losetup", "--version"],
        ["ps", "--version"],
        ["nsenter", "--version"],
        ["node", "--version"],
        ["configurable-http-proxy", "--version"],
        ["gavip", "up", "--help"],
    ],
    ids=lambda argv: argv[0],
)
def test_the_platform_has_the_programs_it_calls(argv: list[str]) -> None:
    done = run("platform", argv, options=["--user", "0", "--entrypoint", ""])
    assert done.returncode == 0, done.stderr


@every_image
def test_the_bill_of_materials_is_valid_and_complete(name: str) -> None:
    image = about(name)
    assert bill(name).exists(), f"make images NAMES={name} writes it"
    text = bill(name).read_text()
    assert JsonStrictValidator(SCHEMA).validate_str(text) is None
    told = json.loads(text)
    properties = {p["name"]: p["value"] for p in told["metadata"]["component"]["properties"]}
    assert properties == {
        LABEL: image["Config"]["Labels"][LABEL],
        "org.gavip.image-id": image["Id"],
    }
    listed = run(name, ["dpkg-query", "-W", "-f", "${Package}\\n"], options=["--entrypoint", ""])
    debian = {c["name"] for c in told["components"] if c["purl"].startswith("pkg:deb/")}
    assert debian == set(listed.stdout.split())
    frozen = json.loads(
        run(name, ["pip", "list", "--format", "json"], options=["--entrypoint", ""]).stdout
    )
    python = {
        (c["name"], c["version"]) for c in told["components"] if c["purl"].startswith("pkg:pypi/")
    }
    assert python == {(p["name"], p["version"]) for p in frozen}
    npm = {c["name"] for c in told["components"] if c["purl"].startswith("pkg:npm/")}
    assert ("configurable-http-proxy" in npm) == (name == "platform")
