"""The domain and its database: models, rules and transaction scripts. No MQTT, no HTTP."""
