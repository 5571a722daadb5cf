"""The site's pages are files of the repository at their own paths, so that links hold in both."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
SHOWN = (
    "*.md",
    "CITATION.cff",
    "LICENSE",
    "REUSE.toml",
    "config.yaml",
    "config/*.*",
    "docs/**/*.*",
    "profiles/**/*.*",
    "vertseg/models/*.md",
    "vertseg/predict/*.schema.json",
    "vertseg/report/assets/*.txt",
    "website/*.css",
)
"""Pages, and the files that they link to."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Put the repository's files in place of those of the documents' folder."""
    theme = [file for file in files if file.src_dir != config.docs_dir]
    paths = {path for pattern in SHOWN for path in ROOT.glob(pattern) if path.is_file()}
    own = [
        File(
            path.relative_to(ROOT).as_posix(),
            src_dir=str(ROOT),
            dest_dir=config.site_dir,
            use_directory_urls=config.use_directory_urls,
        )
        for path in sorted(paths)
    ]
    return Files([*own, *theme])


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show an escaped bar of a table's code as a bar, as the repository's viewers do."""
    return re.sub(r"<td.*?</td>", lambda cell: cell[0].replace("\\|", "|"), html, flags=re.DOTALL)
