"""The demo company of `milepost up`: its staff and vans, and their working days."""

from local.demo.company import operator_login, prepare
from local.demo.main import run

__all__ = ["operator_login", "prepare", "run"]
