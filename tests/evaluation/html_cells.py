"""The cells of a table in a page of HTML."""

from html.parser import HTMLParser


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
