"""The demo company of `milepost up`: its people and vans, and the days that they have."""

from local.demo.company import operator_login, prepare
from local.demo.main import run

__all__ = ["operator_login", "prepare", "run"]
