"""The plugin sensor of xrtcbridge."""

from sensor import CONNECTORS
from xrtcbridge_plugin import serve

serve(*CONNECTORS, version="1.0.0")
