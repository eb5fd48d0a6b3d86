"""What Streamlit runs: the pages, and what they share."""

import streamlit as st

from groundshift.dashboard import chrome
from groundshift.dashboard.views import data as data_view
from groundshift.dashboard.views import guide
from groundshift.dashboard.who import is_known, login_ended, who
from groundshift.dashboard.workspace import workspace
from groundshift.errors import GroundshiftError, Unauthenticated

chrome.dress()


def review() -> None:
    """The map, the queue and the evidence."""
    workspace("review", user=who().about)


def label() -> None:
    """The same, with the outline open for editing."""
    workspace("label", user=who().about)


def data() -> None:
    """What came in, and what became of it."""
    try:
        data_view.show(who().api())
    except Unauthenticated as error:
        if not who().about:  # a dashboard without a login over an API that has one
            st.error(str(error), icon=":material/error:")
            return
        login_ended()
    except GroundshiftError as error:
        st.error(str(error), icon=":material/error:")


page = st.navigation(
    [
        st.Page(review, title="Review", default=True),
        st.Page(label, title="Label"),
        st.Page(data, title="Data"),
        st.Page(guide.show, title="Help", url_path="help"),
    ],
    position="top" if is_known() else "hidden",
)
chrome.signed_in(who().about)
page.run()
