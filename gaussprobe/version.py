"""The version of gaussprobe, for modules that cannot ask the package itself."""

__version__ = "0.1.0"
