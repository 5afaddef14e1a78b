from __future__ import annotations

import hashlib
import json
import threading
import time

import nbformat
import pytest

from avi.errors import InvalidInput, NotFound
from avi.reporting import ERROR_MIME, MIME
from avi.runner import product
from avi.runner.engine import Watch, is_authors, title_of
from avi.runner.main import load_notebook, release_file
from avi.runner.report import FileSink, NoSink, Reporter, sink_for
from gavip_api.models import RunResult, utcnow


class Sink:
    def __init__(self, answers=True):
        self.sent, self.answers, self.closed = [], answers, False

    def send(self, report):
        self.sent.append((time.monotonic(), report))
        return self.answers

    def close(self):
        self.closed = True


def test_reports_are_throttled_and_the_last_one_arrives():
    sink = Sink()
    reporter = Reporter(lambda: sink, 3, lambda: None, interval=0.2)
    for i in range(200):
        reporter.tell(i, 199, "task")
    time.sleep(0.25)
    reporter.tell(199, 199, "task")
    reporter.close()
    assert sink.closed
    assert sink.sent[-1][1].done == 199
    assert sink.sent[-1][1].attempt == 3
    assert len(sink.sent) < 6


def test_a_fenced_attempt_is_told_once():
    told = []
    reporter = Reporter(lambda: Sink(answers=False), 1, lambda: told.append(1), interval=0.01)
    reporter.tell(0, 1)
    reporter.tell(1, 1)
    reporter.close()
    assert told == [1]


def test_file_sink_replaces_the_report(tmp_path):
    sink = sink_for((tmp_path / "p.json").as_uri(), None)
    assert isinstance(sink, FileSink)
    reporter = Reporter(lambda: sink, 1, lambda: None)
    reporter.tell(1, 2, "t", "m" * 900)
    reporter.close()
    assert json.loads((tmp_path / "p.json").read_text())["done"] == 1


def test_no_url_means_no_reports():
    assert isinstance(sink_for("", None), NoSink)


def test_outputs_leave_out_links_hidden_files_and_the_result(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in (
        "b.txt",
        "a.txt",
        "sub/c.fits",
        ".hidden",
        "result.json",
        "executed.ipynb",
        "provenance.json",
    ):
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "etc").symlink_to("/etc")
    assert product.outputs(tmp_path) == (
        "a.txt",
        "b.txt",
        "sub/c.fits",
        "provenance.json",
        "executed.ipynb",
    )


def test_provenance_has_the_hash_of_every_output(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"stars")
    record = product.provenance(tmp_path, {"avi": "x/y"}, utcnow(), utcnow())
    assert record["outputs"] == [
        {"path": "a.txt", "bytes": 5, "sha256": hashlib.sha256(b"stars").hexdigest()}
    ]
    assert record["avi"] == "x/y"


def test_result_is_replaced_atomically(tmp_path):
    product.write_result(tmp_path, RunResult(ok=True))
    product.write_result(tmp_path, RunResult(ok=False))
    assert RunResult.model_validate_json((tmp_path / "result.json").read_bytes()).ok is False
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("a.ipynb", "{", id="not-json"),
        pytest.param("a.ipynb", "[]", id="a-list"),
        pytest.param("a.ipynb", '{"nbformat": 4}', id="no-cells"),
        pytest.param("a.ipynb", "\x00", id="binary"),
    ],
)
def test_a_broken_notebook_is_explained(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidInput, match="not a Jupyter notebook") as caught:
        load_notebook(tmp_path / name)
    assert caught.value.hint


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param(
            {"kernelspec": {"name": "ir", "language": "R", "display_name": "R"}}, id="kernelspec"
        ),
        pytest.param({"language_info": {"name": "R"}}, id="language-info"),
    ],
)
def test_notebooks_in_other_languages_are_refused(tmp_path, metadata):
    nbformat.write(nbformat.v4.new_notebook(metadata=metadata), tmp_path / "r.ipynb")
    with pytest.raises(InvalidInput, match="written in R"):
        load_notebook(tmp_path / "r.ipynb")


def test_the_release_is_not_left_through_links(tmp_path):
    (tmp_path / "release").mkdir()
    (tmp_path / "secret.ipynb").write_text("{}")
    (tmp_path / "release" / "p.ipynb").symlink_to(tmp_path / "secret.ipynb")
    for name in ("p.ipynb", "../secret.ipynb", "missing.ipynb"):
        with pytest.raises(NotFound, match="no file"):
            release_file(tmp_path / "release", name)


def test_cells_are_counted_and_titled_as_the_author_sees_them():
    v = nbformat.v4
    injected = v.new_code_cell("x = 1")
    injected.metadata["tags"] = ["injected-parameters"]
    cells = [
        injected,
        v.new_markdown_cell("intro\n## Read the data"),
        v.new_code_cell("a"),
        v.new_code_cell("# Plot it\nb"),
    ]
    assert [is_authors(c) for c in cells] == [False, False, True, True]
    assert title_of(cells, 2) == "Read the data"
    assert title_of(cells, 3) == "Plot it"


def test_progress_in_a_cell_is_a_fraction_of_the_whole():
    told = []
    watch = Watch(lambda *a: told.append(a), total=4)
    watch.cell_started(2, "Work")
    watch.display({MIME: {"fraction": 0.5, "message": "half"}})
    watch.display({MIME: {"fraction": "evil"}})
    watch.display({MIME: {"fraction": 7}})
    watch.display({MIME: "x"})
    watch.cell_ended()
    assert [t[0] for t in told] == [1, 1.5, 2]
    assert told[1] == (1.5, 4, "Cell 2 of 4: Work", "half")


def test_an_explained_error_is_read_as_text_only():
    watch = Watch(lambda *a: None)
    watch.display({ERROR_MIME: {"message": 5, "hint": "x" * 9000}})
    assert watch.explained["message"] == "5"
    assert len(watch.explained["hint"]) == 2000


def test_a_stop_before_the_kernel_exists_takes_effect_when_it_does(monkeypatch):
    killed = threading.Event()
    monkeypatch.setattr("avi.runner.engine.os.kill", lambda pid, number: killed.set())
    watch = Watch(lambda *a: None)
    watch.stop("cancelled")
    watch.stop("fenced")
    assert watch.stopped == "cancelled"
    watch.kernel_started(4711)
    assert killed.wait(2)
    watch.kernel_ended()
