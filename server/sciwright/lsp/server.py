"""The language server: what it holds, and how it is put together."""

import asyncio
import logging

from lsprotocol import types
from pygls.exceptions import JsonRpcException, PyglsError
from pygls.lsp.server import LanguageServer

from sciwright import __version__, samplers
from sciwright.lsp import code_actions, configuration, generations
from sciwright.lsp.generations import Generations
from sciwright.samplers.protocol import Sampler
from sciwright.settings import Settings

logger = logging.getLogger(__name__)


class SciwrightServer(LanguageServer):
    """A language server with its settings, its sampler and the generations under way."""

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__("sciwright", __version__)
        self.settings = settings or Settings()
        self.generations = Generations()
        self._sampler: Sampler | None = None
        self._sampler_settings = self.settings

    async def sampler(self) -> Sampler:
        """Return the sampler for the present settings; it is started by its first use."""
        if self._sampler is None or self._sampler_settings != self.settings:
            await self.close_sampler()
            self._sampler = samplers.connect(self.settings)
            self._sampler_settings = self.settings
        return self._sampler

    async def close_sampler(self) -> None:
        """End the engine and the connections, if there are any."""
        sampler, self._sampler = self._sampler, None
        if sampler:
            await sampler.aclose()

    def tell(self, message: str, kind: types.MessageType = types.MessageType.Error) -> None:
        """Show one readable message to the user."""
        self.window_show_message(types.ShowMessageParams(type=kind, message=f"Sciwright: {message}"))

    def report_server_error(
        self, error: Exception, source: type[PyglsError] | type[JsonRpcException]
    ) -> None:
        """Log what went wrong inside; the user sees messages only for what a person can act on."""
        logger.error("%s: %s", source.__name__, type(error).__name__)
        logger.debug("details", exc_info=error)


def create_server(settings: Settings | None = None) -> SciwrightServer:
    """Return a server with all its features, ready for `start_io` or `start_tcp`."""
    server = SciwrightServer(settings)
    for feature in (code_actions, configuration, generations):
        feature.register(server)

    @server.feature(types.SHUTDOWN)
    async def shut_down(*_: None) -> None:
        await server.generations.cancel_all()
        await asyncio.shield(server.close_sampler())

    return server
