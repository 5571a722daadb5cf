"""Tables as pages."""

import pandas as pd
from html_cells import Cells

from vertseg.evaluation.pages import table_page


def test_a_table_is_shown_as_it_is_read() -> None:
    table = pd.DataFrame(
        {
            "method": ["A & <b>", "U-Net"],
            "dice": [0.123456, float("nan")],
            "scans": [12, 34567],
            "interval": ["21.4 [18.9, 23.8]", "–"],
            "memory": [12345.6, -2.0],
        }
    )
    page = table_page(table, "Table <1>", "A note & more.")
    cells = Cells(page)
    assert cells.rows == [
        ["method", "dice", "scans", "interval", "memory"],
        ["A & <b>", "0.1235", "12", "21.4 [18.9, 23.8]", "12346"],
        ["U-Net", "", "34567", "–", "-2"],
    ]
    assert cells.right == [False, True, True, True, True]
    assert "<title>Table &lt;1&gt;</title>" in page
    assert "<p>A note &amp; more.</p>" in page
