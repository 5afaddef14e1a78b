from __future__ import annotations

import threading
import time
from datetime import datetime, timezone

import pytest

from avi import errors
from avi.errors import EmptyResult, InvalidInput, PlatformUnavailable
from avi.pipelines import Job, Pipeline
from avi.surroundings import context
from avi.widgets import JobWidget, Task
from avi.widgets.errors import guard
from avi.widgets.form import Form
from avi.widgets.results import listing, previews
from avi.widgets.theme import alert, duration, html
from gavip_api import models
from gavip_api.enums import EventKind, JobState


def until(condition, seconds=5.0):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.02)


def job_model(state=JobState.RUNNING, **kw):
    now = datetime.now(timezone.utc)
    return models.Job(
        id="0190f5a2-0000-7000-8000-000000000001", owner="me", avi="o/tiny", release="", pipeline="double",
        title="Double <b>it</b>", parameters={}, resources=models.ResourceAmount(memory=0, cpu=0), time_limit=60,
        state=state, created=now, started=now, **kw,
    )  # fmt: skip


class BrokenTwice:
    """A service whose event stream fails twice before the job ends."""

    def __init__(self, end: models.Job) -> None:
        self.end, self.failures, self.cancelled = end, 2, False
        self.now = job_model()

    def submit(self, pipeline, parameters):
        self.submitted = parameters
        return self.now

    def job(self, job_id):
        return self.now

    def jobs(self, limit):
        return [self.now]

    def cancel(self, job_id):
        self.cancelled = True
        return self.now

    def log(self, job_id):
        return "line <script>"

    def events(self, job_id, after):
        yield models.JobEvent(
            seq=after + 1, job=job_id, time=self.now.created, kind=EventKind.PROGRESS, state=JobState.RUNNING,
            progress=models.Progress(done=1, total=4, task="Cell 1 of 4"),
        )  # fmt: skip
        if self.failures:
            self.failures -= 1
            raise PlatformUnavailable("gone")
        self.now = self.end


def test_a_job_is_followed_through_lost_connections():
    service = BrokenTwice(job_model(JobState.SUCCEEDED))
    shown = JobWidget(Job(service.now, service))
    until(lambda: "✓ Succeeded" in shown._head.value)
    assert service.failures == 0
    assert shown._cancel.layout.display == "none"
    assert "<b>it" not in shown._head.value
    assert not shown._notice.value


def test_a_failed_job_says_cause_cell_and_next_step():
    error = models.JobError(code="x", message="It <broke>.", hint="Do that.", cell=3)
    service = BrokenTwice(job_model(JobState.FAILED, error=error))
    shown = JobWidget(Job(service.end, service))
    assert 'role="alert"' in shown._notice.value
    for words in ("It &lt;broke&gt;.", "cell 3", "Do that."):
        assert words in shown._notice.value


def test_cancel_and_log_work_from_the_page():
    service = BrokenTwice(job_model(JobState.CANCELLED))
    service.failures = 10**6
    shown = JobWidget(Job(service.now, service))
    shown._cancel.click()
    until(lambda: service.cancelled)
    shown._log_button.click()
    until(lambda: shown._log.value)
    assert "&lt;script&gt;" in shown._log.value
    service.failures = 0
    until(lambda: "Cancelled" in shown._head.value, 30)


def form(release, service):
    return Form(
        Pipeline("double", context().pipeline("double"), service),
        on_submit=service.__dict__.setdefault("got", []).append,
    )


def test_a_form_is_made_from_the_declaration(release):
    made = form(release, BrokenTwice(job_model()))
    assert {n: type(f).__name__ for n, f in made.fields.items()} == {
        "x": "FloatText",
        "word": "Dropdown",
        "fast": "Checkbox",
    }
    assert made.fields["x"].description == "The x [deg]"
    assert made.values == {"x": 2.0, "word": "a", "fast": True}


def test_a_faulty_field_is_marked_and_nothing_is_sent(release):
    service = BrokenTwice(job_model())
    made = form(release, service)
    made.fields["x"].value = 99
    made.submit().join(10)
    assert "maximum" in made._faults["x"].value
    assert 'role="alert"' in made.notice.value
    assert not hasattr(service, "submitted")
    assert not made.button.disabled


def test_a_good_form_submits_and_clears_its_marks(release):
    service = BrokenTwice(job_model())
    made = form(release, service)
    made._faults["x"].value = "old"
    made.set({"x": 3, "unknown": 1})
    made.submit().join(10)
    assert service.submitted == {"x": 3.0, "word": "a", "fast": True}
    assert len(service.got) == 1
    assert made._faults["x"].value == made.notice.value == ""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        pytest.param(EmptyResult("No stars.", hint="Widen."), ["No stars.", "Widen."], id="ours"),
        pytest.param(
            ZeroDivisionError("division by zero"),
            ["ZeroDivisionError", "Try again"],
            id="unexpected",
        ),
        pytest.param(InvalidInput("<img onerror=1>"), ["&lt;img"], id="escaped"),
    ],
)
def test_guard_shows_the_error_without_a_traceback(error, words):
    notice = html()
    with guard(notice):
        raise error
    assert "Traceback" not in notice.value
    for word in words:
        assert word in notice.value


def test_the_last_run_has_the_last_word():
    numbers, drawing, finish, drawn = iter([1, 2]), threading.Event(), threading.Event(), []

    def draw(number):
        if number == 1:
            drawing.set()
            finish.wait(5)
        drawn.append(number)

    task = Task("Go", lambda run: next(numbers), draw)
    first = task.start()
    assert drawing.wait(5)
    second = task.start()
    second.join(0.2)  # long enough for it to draw at once, were it allowed to
    finish.set()
    first.join(5)
    second.join(5)
    assert drawn == [1, 2]


def test_a_task_delivers_and_frees_its_button():
    got = []
    task = Task("Go", lambda run: 42, got.append)
    task.start().join(5)
    assert got == [42]
    assert "Done in" in task.status.value
    assert (task.button.disabled, task.cancel.disabled) == (False, True)


def test_a_cancelled_task_never_delivers():
    got, go = [], threading.Event()

    def work(run):
        go.wait(5)
        return 1

    task = Task("Go", work, got.append)
    thread = task.start()
    task.cancel.click()
    go.set()
    thread.join(5)
    assert got == []
    assert "Cancelled" in task.status.value


def test_an_error_of_a_task_is_shown():
    def work(run):
        raise errors.ArchiveUnavailable("The archive does not answer.")

    task = Task("Go", work, lambda result: None)
    task.start().join(5)
    assert "The archive does not answer." in task.notice.value
    assert not task.button.disabled


def test_results_read_nothing_outside_the_product(tmp_path):
    (tmp_path / "secret.png").write_bytes(b"secret")
    folder = tmp_path / "product"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"x")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    outputs = ("a.png", "link.png", "../secret.png", "missing.png")
    assert previews(folder, outputs).count("<img") == 1
    assert listing(folder, outputs, "avis/x").count("<li>") == 1


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (61, "1 min 01 s"), (7260, "2 h 01 min")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_alerts_escape():
    assert "<script>" not in alert("<script>", "<script>", "<script>")


def test_a_required_number_starts_empty_and_is_asked_for(release):
    service = BrokenTwice(job_model())
    made = Form(Pipeline("other", context().pipeline("other"), service), on_submit=print)
    made.submit().join(10)
    assert "is required" in made._faults["y"].value
    made.fields["y"].value = "many"
    made.submit().join(10)
    assert "is not of type" in made._faults["y"].value
    made.fields["y"].value = "7"
    made.submit().join(10)
    assert service.submitted == {"y": 7}
