"""``orchestrator schema``."""

from __future__ import annotations

import click


@click.command("schema")
def command() -> None:
    """Print the JSON Schema of matrix.toml, for editors: `#:schema matrix.schema.json`."""
    import json

    from orchestrator.config.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
