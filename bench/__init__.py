"""`make bench`: what the portal costs, beside the least that anybody could need for the same (docs/performance.md)."""
