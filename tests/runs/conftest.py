import pytest


@pytest.fixture(autouse=True)
def elsewhere(empty_folder):
    """Work in an empty folder."""
