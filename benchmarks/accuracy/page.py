"""The docs page: what is measured stands in it once; its tables are rewritten between markers."""

import re
from pathlib import Path

_BLOCK = "<!-- {name}: written by make bench-accuracy -->\n{text}\n<!-- end of {name} -->"


def rewritten(page: str, blocks: dict[str, str]) -> str:
    """The page with the text between each block's markers replaced.

    Args:
        page: Markdown.
        blocks: New text by the block's name.

    Raises:
        ValueError: The page has no such block.
    """
    for name, text in blocks.items():
        pattern = re.compile(re.escape(f"<!-- {name}:") + r".*?-->.*?" + re.escape(f"<!-- end of {name} -->"), re.S)
        if not pattern.search(page):
            raise ValueError(f"the page has no block {name!r}")
        block = _BLOCK.format(name=name, text=text.strip())
        page = pattern.sub(lambda _, block=block: block, page)
    return page


def rewrite(path: Path, blocks: dict[str, str]) -> None:
    """Rewrite blocks of a file in place."""
    path.write_text(rewritten(path.read_text(encoding="utf-8"), blocks), encoding="utf-8")
