"""Reading a configuration: the defaults, a yaml file over them, `KEY VALUE` pairs over both."""

from mmn.config.defaults import _C
from mmn.config.load import load_config, load_config_text, override_config
from mmn.config.validate import validate

__all__ = ["get_cfg", "load_config", "load_config_text", "override_config", "validate"]


def get_cfg():
    """A fresh copy of the defaults, so that one caller cannot leak settings into another."""
    return _C.clone()
