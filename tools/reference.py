"""Write docs/reference/options.md and the JSON Schemas in docs/ from the models."""

import json
from pathlib import Path

from orchestrator.config.schema import json_schema, reference
from orchestrator.report import schemas

DOCS = Path(__file__).parents[1] / "docs"

(DOCS / "reference/options.md").write_text(reference(), encoding="utf-8")
found = {"matrix": json_schema()}
found |= {name: schemas.json_schema(name) for name in schemas.DOCUMENTS}
for name, schema in found.items():
    text = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    (DOCS / f"{name}.schema.json").write_text(text, encoding="utf-8")
