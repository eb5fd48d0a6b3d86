"""What every page shares: the look, who is signed in, and what is said where there is nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import streamlit as st

_LOGO: Final = Path(__file__).with_name("static") / "logo.svg"
_STYLE: Final = """
<style>
[data-testid="stMainBlockContainer"] { padding: 4.6rem 1.6rem 2rem; max-width: 1900px; }
[data-testid="stHeader"] { background: #101316; border-bottom: 1px solid #2f353d; }
[data-testid="stMetric"], [data-testid="stMetric"] > div { padding: 0.5rem 0.9rem !important; }
.gs-who { position: fixed; top: 0; right: 4.5rem; height: 3.7rem; display: flex;
  align-items: center; z-index: 999991; color: #97a1ac; font-size: 0.9rem; pointer-events: none; }
</style>
"""
_LOCAL: Final = "Local user. No login: this machine only."


def dress() -> None:
    """The look of all pages, and who is signed in."""
    st.set_page_config(page_title="groundshift", page_icon=str(_LOGO), layout="wide")
    st.logo(str(_LOGO), size="large")
    st.html(f"{_STYLE}<div class='gs-who' data-testid='who'>{_LOCAL}</div>")


def nothing_yet() -> None:
    """What to do where no scene ever came."""
    st.markdown("##### No scenes yet")
    st.markdown("Announce two dates of one place, and this page fills itself:")
    st.code("groundshift submit BEFORE.json AFTER.json", language="sh")
    st.markdown("Or look at a simulated site first:")
    st.code("groundshift demo --open", language="sh")
