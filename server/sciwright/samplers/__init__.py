"""Samplers: one protocol, and one module for each kind of model server."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sciwright.samplers.protocol import Sampler
    from sciwright.settings import Settings


def connect(settings: "Settings") -> "Sampler":
    """Return the sampler that `settings` choose; nothing is started or reached before its first use."""
    if settings.endpoint:
        from sciwright.samplers.keys import find_key
        from sciwright.samplers.openai import OpenAISampler

        return OpenAISampler(
            settings.endpoint,
            model=settings.model,
            key=lambda: find_key(settings),
            connect_timeout=settings.connect_timeout,
            read_timeout=settings.read_timeout,
        )
    from sciwright.models import DEFAULT
    from sciwright.samplers.local import LocalSampler

    return LocalSampler(settings.model or DEFAULT, threads=settings.threads)
