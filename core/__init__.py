"""The domain and its database: models, rules and the content of transactions. No MQTT, no HTTP."""
