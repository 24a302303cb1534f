"""What is killed, stopped, deleted or full, and what the portal makes of it."""

import pytest

pytest.register_assert_rewrite("tests.support.fault_site")
