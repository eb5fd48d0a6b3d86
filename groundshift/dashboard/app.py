"""What Streamlit runs: the pages, and what they share."""

import streamlit as st

from groundshift.dashboard import chrome
from groundshift.dashboard.client import Api
from groundshift.dashboard.views import data as data_view
from groundshift.dashboard.views import guide
from groundshift.dashboard.workspace import workspace
from groundshift.errors import GroundshiftError

chrome.dress()


def review() -> None:
    """The map, the queue and the evidence."""
    workspace("review")


def label() -> None:
    """The same, with the outline open for editing."""
    workspace("label")


def data() -> None:
    """What came in, and what became of it."""
    try:
        data_view.show(Api(st.secrets["api_url"]))
    except GroundshiftError as error:
        st.error(str(error), icon=":material/error:")


st.navigation(
    [
        st.Page(review, title="Review", default=True),
        st.Page(label, title="Label"),
        st.Page(data, title="Data"),
        st.Page(guide.show, title="Help", url_path="help"),
    ],
    position="top",
).run()
