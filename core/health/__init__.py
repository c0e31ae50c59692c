"""The truth about the whole system: heartbeats of the processes, and checks made of what can be seen."""
