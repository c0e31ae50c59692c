"""All settings: ``MILEPOST_*`` variables and a ``.env`` file, read once at the start of a process."""

from core.settings.checks import require_real_secret
from core.settings.loading import SettingsError, load, port_taken, read
from core.settings.process import ENV_FILE, Settings

__all__ = ["ENV_FILE", "Settings", "SettingsError", "load", "port_taken", "read", "require_real_secret"]
