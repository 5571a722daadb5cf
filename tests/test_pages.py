"""Tables as pages."""

from html.parser import HTMLParser

import pandas as pd

from vertseg.evaluation.pages import table_page


class Cells(HTMLParser):
    """Rows of the page's table; which header cells stand to the right."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.right: list[bool] = []
        self.open = False
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.open = True
            self.rows[-1].append("")
        if tag == "th":
            self.right.append(("class", "number") in attributes)

    def handle_endtag(self, tag: str) -> None:
        self.open &= tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.open:
            self.rows[-1][-1] += data


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
