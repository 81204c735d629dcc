"""A page as its readers open it, in a browser without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self


class PageReader:
    """One page, open: what it says on the console, and what it asks the network for, must be nothing."""

    def __init__(self, browser: Any, path: Path, width: int = 1200, scheme: str = "light", opened: str = "") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", self._dismiss)
        self.page.on("request", lambda request: self.said.append(request.url) if self._is_remote(request.url) else None)
        self.page.goto(path.as_uri() + opened)
        self.page.wait_for_selector("body[data-ready]")

    def _dismiss(self, dialog: Any) -> None:
        self.said.append(dialog.message)
        dialog.dismiss()

    @staticmethod
    def _is_remote(url: str) -> bool:
        return not url.startswith(("file:", "data:"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.page.wait_for_timeout(50)  # what is still being drawn may complain, too
        self.context.close()
        assert self.said == []

    def rows(self, table: str) -> dict[str, list[str]]:
        """Return the exact values of a table's cells by the text of the row's head."""
        found: dict[str, list[str]] = self.page.eval_on_selector_all(
            f"{table} tbody tr",
            "rows => Object.fromEntries(rows.map(row => [row.querySelector('th').textContent, "
            "[...row.querySelectorAll('td')].map(cell => cell.querySelector('data')?.value ?? cell.textContent)]))",
        )
        return found
