"""Gateways for the tests of this folder: the shared one, which is only read, and one to change and to stop."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.real.gateway import RealGateway
from tests.real.install import install_openclaw
from tests.real.session import Shared, fill_now, shared
from tests.support.openclaw_board import KnownBoard


@pytest.fixture(scope="session")
def common() -> Shared:
    """The shared Gateway with the known board."""
    return shared()


@pytest.fixture(scope="session")
def own() -> Iterator[tuple[RealGateway, KnownBoard]]:
    """A Gateway of this folder's own with the known board. Tests may stop it, and add cards that they take away."""
    with RealGateway(install_openclaw()) as gateway:
        yield gateway, fill_now(gateway)


@pytest.fixture
def running(own: tuple[RealGateway, KnownBoard]) -> tuple[RealGateway, KnownBoard]:
    """The folder's own Gateway, up and ready."""
    gateway, _ = own
    if not gateway.is_up:
        gateway.start()
    return own
