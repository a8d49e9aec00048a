"""Write the generated pages and the JSON Schemas of docs/ from the models and the commands.

python tools/reference.py [DIRECTORY]     DIRECTORY instead of docs/, for comparison
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import reference_cli
import reference_documents
import reference_gallery

from orchestrator.config.schema import json_schema, reference
from orchestrator.report import schemas

ROOT = Path(__file__).parents[1]


def pages() -> dict[str, str]:
    """Return everything that is generated: path below docs/ -> text."""
    documents = {name: schemas.json_schema(name) for name in schemas.DOCUMENTS}
    found = {"matrix": json_schema(), **documents}
    return {
        "reference/options.md": reference(),
        "reference/cli.md": reference_cli.page(),
        "reference/json.md": reference_documents.page(documents),
        "gallery.md": reference_gallery.page(ROOT / "examples" / "matrices"),
        **{
            f"{name}.schema.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
            for name, schema in found.items()
        },
    }


def main(place: Path) -> None:
    """Write all pages below a directory."""
    for name, text in pages().items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(*sys.argv[1:2]) if sys.argv[1:] else ROOT / "docs")
