"""The kubectl plugin: `kubectl clara review | approve | reject | …`."""
