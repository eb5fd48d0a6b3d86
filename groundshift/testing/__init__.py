"""Contract tests: one class per Protocol of `groundshift.ports`, for every implementation of it.

A test module subclasses the class and gives the fixture that its docstring names. Development
only: these modules import pytest.
"""
