"""JUnit XML against the schema of Jenkins' xunit plugin, which pytest's own sdist brings along."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

import pytest
import xmlschema

from orchestrator.models.reading import parse
from orchestrator.report import junit
from orchestrator.report.schemas import ResultsDocument
from tests import reports
from tests.conftest import ran
from tests.unit.report.test_reports import hostile

SDIST = "pytest-9.0.2"
MEMBER = f"{SDIST}/testing/example_scripts/junit-10.xsd"


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> xmlschema.XMLSchema:
    folder = tmp_path_factory.mktemp("sdist")
    download = ("-m", "pip", "download", "-q", "--no-deps", "--no-binary=pytest")
    ran(sys.executable, *download, f"--dest={folder}", SDIST.replace("-", "=="), code=0)
    with tarfile.open(folder / f"{SDIST}.tar.gz") as archive:
        member = archive.extractfile(MEMBER)
        assert member is not None
        return xmlschema.XMLSchema(member.read().decode())


@pytest.mark.index
def test_jenkins_takes_our_junit_xml(schema: xmlschema.XMLSchema, tmp_path: Path) -> None:
    for name, document in (("large", reports.large(40)), ("hostile", hostile())):
        file = tmp_path / f"{name}.xml"
        file.write_text(junit.render(parse(ResultsDocument, document)), encoding="utf-8")
        schema.validate(str(file))


@pytest.mark.index
def test_the_schema_refuses_what_is_wrong(schema: xmlschema.XMLSchema) -> None:
    with pytest.raises(xmlschema.XMLSchemaValidationError):
        schema.validate("<testsuites><testsuite><nonsense/></testsuite></testsuites>")
