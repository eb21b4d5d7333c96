"""List and watch over aiohttp into a store that a list replaces; used by the gateway and the agent."""
