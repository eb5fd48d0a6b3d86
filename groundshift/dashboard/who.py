"""Who looks at the pages: whoever logged in, or the one local user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

import streamlit as st

from groundshift.dashboard import chrome
from groundshift.dashboard.client import Api
from groundshift.errors import Forbidden, GroundshiftError, Unauthenticated

_KEY: Final = "groundshift-who"


@dataclass(frozen=True)
class Who:
    """Somebody, with what the API says that they may do."""

    token: str | None
    """Of their login; None for the local user."""
    about: Mapping[str, Any]
    """`user`, `tenant` and `role` (see /api/me); empty for the local user."""

    def api(self) -> Api:
        """The API with their rights."""
        return Api(st.secrets["api_url"], token=self.token)


def who() -> Who:
    """Who looks; where nobody is logged in, the page that asks for it, and the end of this run.

    Streamlit knows a person for as long as a page is open: one whose login has ended meanwhile
    keeps what is on the screen, and is told by the first request that is refused.
    """
    if "auth" not in st.secrets:
        return Who(None, {})
    token = _token()
    known = st.session_state.get(_KEY)
    if isinstance(known, Who) and known.token == token:
        return known
    if token is None:
        _ask_to_log_in("Log in to see the alerts.")
    found = _asked(token)
    st.session_state[_KEY] = found
    return found


def is_known() -> bool:
    """Whether anybody may be looking who needs no login page."""
    return "auth" not in st.secrets or _token() is not None


def _token() -> str | None:
    """The token that Streamlit was told to expose; None for who is not logged in."""
    if not st.user.is_logged_in:
        return None
    return next(iter(st.user.tokens.to_dict().values()), None)


def _asked(token: str) -> Who:
    """Who the API takes them for."""
    try:
        return Who(token, Api(st.secrets["api_url"], token=token).get("/api/me"))
    except Unauthenticated:
        login_ended()
    except Forbidden as error:
        _turn_away(error)
    except GroundshiftError as error:
        st.error(str(error), icon=":material/error:")
        st.stop()


def login_ended() -> NoReturn:
    """The page that says so, and the end of this run."""
    _ask_to_log_in("Your login has ended. Log in again: this view comes back.")


def _ask_to_log_in(why: str) -> NoReturn:
    place = urlsplit(st.secrets["auth"]["server_metadata_url"]).hostname
    with chrome.card():
        st.markdown(why)
        st.button("Log in", type="primary", on_click=st.login, width="stretch")
        st.caption(f"With your account at {place}.")
    st.stop()


def _turn_away(error: Forbidden) -> NoReturn:
    with chrome.card():
        st.markdown("You are logged in, and have no role here.")
        st.caption(str(error))
        chrome.log_out()
    st.stop()
