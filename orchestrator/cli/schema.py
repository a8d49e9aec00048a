"""``orchestrator schema``."""

from __future__ import annotations

import click

from orchestrator.cli.help import OneOf, examples
from orchestrator.cli.output import emit

MATRIX = "matrix"
NAMES = (MATRIX, "plan", "inspect", "verify", "results", "doctor", "explain", "coverage", "publish")


@click.command("schema", epilog=examples("schema >matrix.schema.json", "schema results"))
@click.argument("name", type=OneOf(NAMES), default=MATRIX, metavar="[NAME]")
def command(name: str) -> None:
    """Print a JSON Schema.

    NAME is `matrix`, the default, for matrix.toml (editors read it: `#:schema matrix.schema.json`),
    or a JSON document: `plan`, `inspect`, `verify`, `results`, `doctor`, `explain`, `coverage` or
    `publish`.
    """
    import json

    from orchestrator.config.schema import json_schema as matrix_schema
    from orchestrator.report import schemas

    schema = matrix_schema() if name == MATRIX else schemas.json_schema(name)
    emit(json.dumps(schema, indent=2, ensure_ascii=False) + "\n")
