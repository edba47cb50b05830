from tests.standin.session import cloud, standin  # noqa: F401
