"""The pictures' section of a page."""

from __future__ import annotations

import pytest

from groundshift.errors import Misconfigured
from training import pictures


def test_the_section_is_put_between_its_marks_and_replaced_the_next_time(tmp_path):
    page = tmp_path / "models.md"
    page.write_text(f"above\n{pictures.BEGIN}\nold\n{pictures.END}\nbelow\n")
    for section in ("one", "two"):
        pictures.insert(page, section)
    assert page.read_text() == f"above\n{pictures.BEGIN}\n\ntwo\n\n{pictures.END}\nbelow\n"


def test_a_page_without_marks_is_refused(tmp_path):
    page = tmp_path / "models.md"
    page.write_text("nothing")
    with pytest.raises(Misconfigured, match="pictures:begin"):
        pictures.insert(page, "one")
