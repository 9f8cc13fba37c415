"""Settings from the editor: pulled by `workspace/configuration`, again whenever they change."""

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lsprotocol import types

if TYPE_CHECKING:
    from sciwright.lsp.server import SciwrightServer

logger = logging.getLogger(__name__)

SECTION = "sciwright"


def register(server: "SciwrightServer") -> None:
    """Add the feature to `server`."""
    base = server.settings
    told: set[str] = set()

    @server.feature(types.INITIALIZED)
    async def initialized(_: types.InitializedParams) -> None:
        await pull()

    @server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)
    async def changed(_: types.DidChangeConfigurationParams) -> None:
        await pull()

    async def pull() -> None:
        workspace = server.client_capabilities.workspace
        if not (workspace and workspace.configuration):
            return
        items = [types.ConfigurationItem(section=SECTION)]
        try:
            request = server.workspace_configuration_async(types.ConfigurationParams(items))
            answer = await asyncio.shield(asyncio.ensure_future(request))
        except Exception as error:  # a client that cannot answer leaves us with the settings that we have
            logger.warning("the client did not tell its settings: %s", type(error).__name__)
            return
        values: Any = answer[0] if answer else None
        server.settings, problems = base.with_values(
            values if isinstance(values, Mapping) else {}, "the editor's settings"
        )
        for problem in problems:
            if problem not in told:
                told.add(problem)
                server.tell(problem, types.MessageType.Warning)
