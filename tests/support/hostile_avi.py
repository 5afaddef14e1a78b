"""AVIs for the tests of isolation: one that attacks with everything its page and its token can do, and its victims."""

from __future__ import annotations

from pathlib import Path

import nbformat

KIT = (Path(__file__).parent / "hostile_avi.js").read_text(encoding="utf-8")

_WIDGETS = """\
import json, os
import ipywidgets as w
from IPython.display import HTML, display
slider = w.IntSlider(value=3, description='Number')
square = w.Label('9')
slider.observe(lambda change: setattr(square, 'value', str(change['new'] ** 2)), 'value')
button = w.Button(description='Count')
count = w.Label('pressed 0')
button.on_click(lambda _: setattr(count, 'value', f"pressed {int(count.value.split()[1]) + 1}"))
display(w.VBox([slider, square, button, count]))"""

_STOLEN = """\
stolen = json.dumps(dict(os.environ))
display(HTML('<script type="application/json" id="stolen">' + stolen.replace('<', '\\\\u003c') + '</script>'))"""

_PIPELINE = {
    "run": {
        "title": "Run",
        "notebook": "run.ipynb",
        "resources": "{memory: 256M, cpu: 0.2, time: 1m}",
    }
}


def _avi(folder: Path, name: str, cells: list[str]) -> Path:
    root = folder / name
    root.mkdir(parents=True)
    lines = [
        f"avi: 1\nname: {name}\ntitle: The {name} one\ninterface: app.ipynb",
        "permissions: {archive: false}\npipelines:",
    ]
    for key, fields in _PIPELINE.items():
        lines += [f"  {key}:", *(f"    {k}: {v}" for k, v in fields.items())]
    (root / "avi.yaml").write_text("\n".join(lines) + "\n")
    for file, sources in (("app", cells), ("run", ["print('ran')"])):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
        nbformat.write(notebook, root / f"{file}.ipynb")
    return root


def make(folder: Path) -> list[Path]:
    """Write the AVIs ``hostile``, ``other`` and ``third``; return their folders."""
    kit = f"display(HTML({f'<script>{KIT}</script>'!r}))"
    return [
        _avi(folder, "hostile", [_WIDGETS, _STOLEN, kit]),
        _avi(folder, "other", [_WIDGETS]),
        _avi(folder, "third", ["print('third')"]),
    ]
