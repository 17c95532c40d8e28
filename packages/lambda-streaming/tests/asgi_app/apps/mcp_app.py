"""A Model Context Protocol server with one tool, over streamable HTTP, without sessions."""

from __future__ import annotations

from mcp.server import MCPServer

server = MCPServer("adder")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


app = server.streamable_http_app(stateless_http=True)
