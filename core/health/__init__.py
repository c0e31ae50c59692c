"""Health of the whole system: heartbeats of its processes, and the checks computed from them."""
