"""What every page shares: the look, who is signed in, and what is said where there is nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any, Final

import streamlit as st

_LOGO: Final = Path(__file__).with_name("static") / "logo.svg"
_STYLE: Final = """
<style>
[data-testid="stMainBlockContainer"] { padding: 4.6rem 1.6rem 2rem; max-width: 1900px; }
[data-testid="stHeader"] { background: #101316; border-bottom: 1px solid #2f353d; }
[data-testid="stMetric"], [data-testid="stMetric"] > div { padding: 0.5rem 0.9rem !important; }
.gs-who { position: fixed; top: 0; right: 4.5rem; height: 3.7rem; display: flex;
  align-items: center; z-index: 999991; color: #97a1ac; font-size: 0.9rem; pointer-events: none; }
.gs-who-login { right: 10.5rem; }
.gs-who b { color: #d8dde3; font-weight: 500; margin-right: 0.6rem; }
.st-key-gs-out { position: fixed; top: 0.72rem; right: 4.5rem; width: auto; z-index: 999991; }
.gs-log-out, .gs-log-out:visited { color: #97a1ac; font-size: 0.9rem; line-height: 2.3rem; }
.gs-log-out:hover { color: #d8dde3; }
.st-key-gs-login { max-width: 25rem; margin: 14vh auto 0; padding: 1.6rem; background: #1e2227;
  border: 1px solid #2f353d; border-radius: 6px; }
</style>
"""
_LOCAL: Final = "Local user. No login: this machine only."


def dress() -> None:
    """The look of all pages."""
    st.set_page_config(page_title="groundshift", page_icon=str(_LOGO), layout="wide")
    st.logo(str(_LOGO), size="large")
    st.html(_STYLE)


def signed_in(about: Mapping[str, Any]) -> None:
    """Who is signed in, as /api/me says it; empty: the local user."""
    if not about:
        st.html(f"<div class='gs-who' data-testid='who'>{_LOCAL}</div>")
        return
    user, rights = (escape(str(part)) for part in (about["user"], _rights(about)))
    st.html(f"<div class='gs-who gs-who-login' data-testid='who'><b>{user}</b>{rights}</div>")
    with st.container(key="gs-out"):
        log_out()


def log_out() -> None:
    """The way out: a link to the page that ends the cookie.

    What st.logout sends can be lost where another run of the script begins before it is on its way:
    "Log in" was shown then, and the cookie still held.
    """
    st.html("<a class='gs-log-out' href='auth/logout'>Log out</a>")


def _rights(about: Mapping[str, Any]) -> str:
    return f"{about['role']} of {about['tenant']}"


@contextmanager
def card() -> Iterator[None]:
    """A small box in the middle of an empty page."""
    with st.container(key="gs-login"):
        st.markdown("#### groundshift")
        yield


def nothing_yet() -> None:
    """What to do where no scene ever came."""
    st.markdown("##### No scenes yet")
    st.markdown("Announce two dates of one place, and this page fills itself:")
    st.code("groundshift submit BEFORE.json AFTER.json", language="sh")
    st.markdown("Or look at a simulated site first:")
    st.code("groundshift demo --open", language="sh")
