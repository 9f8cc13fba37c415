"""Fixtures for every folder of tests."""

import asyncio
from pathlib import Path

import pytest

from sciwright import models


@pytest.fixture(scope="session")
def weights() -> Path:
    """The default model's weights, in the user's own cache; the first run ever fetches them."""
    return asyncio.run(models.pull(models.DEFAULT))
