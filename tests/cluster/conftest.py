from tests.support.cluster import shop  # noqa: F401
