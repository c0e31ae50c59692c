"""The ingest worker process: MQTT → decode → store → publish → ack."""
