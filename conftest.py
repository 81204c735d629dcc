"""Examples of README and guide are tests."""

from tests.documents import EXAMPLES

pytest_collect_file = EXAMPLES.pytest()
