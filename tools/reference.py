"""Write docs/reference.md and docs/matrix.schema.json from the model of matrix.toml."""

import json
from pathlib import Path

from orchestrator.config.schema import json_schema, reference

DOCS = Path(__file__).parents[1] / "docs"

(DOCS / "reference.md").write_text(reference(), encoding="utf-8")
schema = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
(DOCS / "matrix.schema.json").write_text(schema, encoding="utf-8")
