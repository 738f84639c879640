"""The channel of AI assistants (Model Context Protocol): one protected endpoint, two tools that read, none that changes anything."""

from parley.channels.mcp.conversation import McpConversation
from parley.channels.mcp.desk import Access, AccessReader, McpAnswer, McpDesk, McpSettings, TooManyCalls
from parley.channels.mcp.door import mcp_routes
from parley.channels.mcp.tools import SCOPES

__all__ = ["SCOPES", "Access", "AccessReader", "McpAnswer", "McpConversation", "McpDesk", "McpSettings", "TooManyCalls", "mcp_routes"]
