"""The dashboard: the analyst's map, labelling, and what the data looks like (Streamlit).

It reads and writes through the HTTP API alone, with the rights of whoever looks at it.
"""
