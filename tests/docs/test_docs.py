"""The pages say what the code does: tables, links, calls, names of tests, settings, metrics."""

import re
import shlex
from enum import StrEnum
from pathlib import Path
from urllib.parse import unquote

import pytest
from prometheus_client import CollectorRegistry

from functions import docs
from functions.metrics import DispatchMetrics, LedgerMetrics
from geodata_etl.bands import Cover
from geodata_etl.errors import Refusal
from geodata_etl.products import changes_frame
from groundshift import keys
from groundshift.alerts import AlertState
from groundshift.baseline import Skip
from groundshift.ledger import Ledger, deliveries
from groundshift.runs import MODEL_NAMES
from groundshift.serving.main import parse
from groundshift.serving.metrics import ServerMetrics
from groundshift.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = docs.pages(ROOT)
LINKING = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
TABLES = {page: docs.tables_in(page.read_text()) for page in PAGES}

_LINK = re.compile(r"\]\(([^()\s]+)\)")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
_VARIABLE = re.compile(r"\bGROUNDSHIFT_([A-Z_]+)\b")


def name_of(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [p for p, names in TABLES.items() if names], ids=name_of)
def test_tables_are_those_of_the_code(page):
    text = page.read_text()
    assert docs.renewed(text) == text, "renew them: python -m functions.docs"


def test_every_table_has_its_place():
    assert sorted(name for names in TABLES.values() for name in names) == sorted(docs.TABLES)


def test_a_stale_table_is_replaced_and_nothing_else(monkeypatch):
    monkeypatch.setattr(docs, "TABLES", {"stages": lambda: "new\n"})
    stale = "before\n<!-- stages -->\nold\n<!-- /stages -->\nafter\n"
    assert docs.renewed(stale) == "before\n<!-- stages -->\nnew\n<!-- /stages -->\nafter\n"
    with pytest.raises(KeyError):
        docs.renewed("<!-- unknown -->\n<!-- /unknown -->")


def test_renewing_writes_stale_pages_only(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(docs, "TABLES", {"stages": lambda: "new\n"})
    monkeypatch.setattr(docs, "PICTURES", {})
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("no table\n")
    stale = tmp_path / "docs" / "page.md"
    stale.write_text("<!-- stages -->\nold\n<!-- /stages -->\n")
    docs.main(tmp_path)
    assert stale.read_text() == "<!-- stages -->\nnew\n<!-- /stages -->\n"
    assert capsys.readouterr().out == f"renewed {stale}\n"


@pytest.mark.parametrize("page", LINKING, ids=name_of)
def test_links_and_pictures_lead_somewhere(page):
    broken = [link for link in _LINK.findall(page.read_text()) if not leads(page, link)]
    assert not broken


def leads(page, link):
    if re.match(r"(https?|mailto):", link):
        return True
    path, _, anchor = unquote(link).partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists() or not target.is_relative_to(ROOT):
        return False
    return not anchor or anchor in anchors(target.read_text())


def anchors(text):
    """Anchors as forges make them: lower case, words joined by hyphens, nothing else."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_the_readme_opens_with_a_sentence_a_picture_and_two_commands():
    title, sentence, picture, commands = (ROOT / "README.md").read_text().split("\n\n")[:4]
    assert title == "# groundshift"
    assert sentence.count(".") == 1
    assert picture.startswith("![")
    assert [line.split("#")[0].strip() for line in commands.splitlines()[1:-1]] == [
        "make demo",
        "make test",
    ]


def test_every_command_stands_in_the_readme():
    text = (ROOT / "README.md").read_text()
    assert [name for name in docs.commands() if f"`groundshift {name}" not in text] == []


def calls():
    """Every line of a shell block that calls groundshift."""
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for language, block in _FENCE.findall(page.read_text()):
            lines = block.replace("\\\n", " ").splitlines() if language in ("", "sh") else []
            yield from ((page, line) for line in lines if line.startswith("groundshift "))


CALLS = list(calls())


@pytest.mark.parametrize("line", [pytest.param(line, id=line) for _, line in CALLS])
def test_every_call_parses(line):
    """Options exist, arguments are there, values have their type; nothing is run."""
    _, name, *arguments = shlex.split(line, comments=True)
    if name == "serve-models":  # hands its arguments on
        assert parse(arguments).model_dir
        return
    command = docs.commands()[name]
    while arguments and arguments[0] in getattr(command, "commands", {}):  # a group
        command = command.commands[arguments.pop(0)]
    assert command.make_context(name, arguments).params


def test_calls_stand_in_the_readme_and_in_the_operations_page():
    assert {page.name for page, _ in CALLS} >= {"README.md", "operations.md", "models.md"}


@pytest.mark.parametrize("kind", [Refusal, Skip])
def test_every_reason_has_what_was_found_and_a_cure(kind):
    told = docs.reasons(kind)
    assert list(told) == [reason.value for reason in kind]
    assert all(found and cure.endswith(".") for found, cure in told.values())


def test_a_reason_without_a_text_is_left_out():
    assert list(docs.reasons(_Bare)) == ["said"]


class _Bare(StrEnum):
    """Two members, one text."""

    SAID = "said"
    """What was found. The cure."""
    SILENT = "silent"


def test_every_test_that_is_named_is_there():
    named = {match for page in PAGES for match in _TEST.findall(page.read_text())}
    assert named
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).exists() or f"def {name}" not in (ROOT / path).read_text()
    ]
    assert not missing


def test_every_setting_that_is_named_is_there():
    known = {name.upper() for name in Settings.model_fields}
    for page in PAGES:
        assert set(_VARIABLE.findall(page.read_text())) <= known, page


def test_every_product_field_and_class_is_explained():
    text = (ROOT / "docs" / "products.md").read_text()
    fields = set(changes_frame([], 32631).columns) - {"geometry"}
    words = {*keys.PRODUCTS, *fields, *(cover.label for cover in Cover)}
    assert [word for word in sorted(words) if word not in text] == []


def test_every_model_has_its_card_in_the_page():
    text = (ROOT / "docs" / "models.md").read_text()
    assert [name for name in MODEL_NAMES if f"model_store/{name}/card.md" not in text] == []


def test_every_state_of_an_alert_is_explained():
    text = (ROOT / "docs" / "data-flow.md").read_text()
    assert [state for state in AlertState if f"`{state}`" not in text] == []


def test_every_metric_is_explained():
    registry = CollectorRegistry()
    DispatchMetrics(registry)
    ServerMetrics(registry)
    text = (ROOT / "docs" / "operations.md").read_text()
    names = [
        *(metric.name for metric in LedgerMetrics(None).describe()),
        *(
            f"{metric.name}_total" if metric.type == "counter" else metric.name
            for metric in registry.collect()
        ),
    ]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_the_replay_that_is_printed_works(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GROUNDSHIFT_DATA_DIR", str(tmp_path))
    with Ledger.open(Settings().ledger_url) as ledger, ledger.transaction() as tx:
        bury_one(tx)
    (code,) = [
        block
        for language, block in _FENCE.findall((ROOT / "docs" / "operations.md").read_text())
        if language == "python"
    ]
    exec(compile(code, "operations.md", "exec"), {})
    assert capsys.readouterr().out == "plan site/scene no such model\n"
    with Ledger.open(Settings().ledger_url) as ledger, ledger.read() as connection:
        assert not deliveries.dead_letters(connection)
        assert deliveries.open_deliveries(connection) == 1


def bury_one(tx):
    from groundshift.events import SceneReady, new_event

    event = new_event(
        SceneReady(scene_id="scene", site_id="site"), source="t", subject="site/scene", time=tx.now
    )
    deliveries.record_dead(tx, event, "plan", status=500, reason="no such model")
