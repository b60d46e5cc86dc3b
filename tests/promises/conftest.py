"""Each promise is attacked on a story of its own."""

import pytest
from support.story import Story


@pytest.fixture
def story():
    told = Story()
    yield told
    told.close()
