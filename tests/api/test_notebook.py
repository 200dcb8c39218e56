"""The notebook runs from top to bottom, and what it shows is there."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

NOTEBOOK = Path(__file__).parents[2] / "notebooks/train_and_measure.ipynb"


@pytest.mark.filterwarnings("default")  # of Jupyter's own
def test_the_notebook_runs(tmp_path: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in cells)  # it is kept without them
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output.data for cell in cells for output in cell.outputs if "data" in output]
    tables = [data["text/html"] for data in shown if "text/html" in data]
    assert len(tables) == 2 and "chance" in tables[0] and "AP_zsl" in tables[1]
    said = [output.text for cell in cells for output in cell.outputs if output.output_type == "stream"]
    assert not said
    assert '<section id="charts">' in (tmp_path / "report.html").read_text()
