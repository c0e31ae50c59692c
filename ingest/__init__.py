"""The worker process: MQTT → decode → store → publish → ack."""
