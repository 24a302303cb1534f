"""The soak of `make soak`, for a minute."""

import pytest

from tests.faults.conftest import seeds
from tests.faults.soak import soak
from tests.support.fault_site import Site

pytestmark = [pytest.mark.needs_cluster, pytest.mark.needs_mariadb, pytest.mark.faults]


@pytest.mark.parametrize("seed", seeds(ci=1, soak=10))
def test_after_a_minute_of_faults_at_random_every_row_object_and_byte_is_in_order(place: Site, seed: int):
    print(soak(place, seed, 60))
