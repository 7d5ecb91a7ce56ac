"""`python -m gaussprobe`."""

from gaussprobe.cli.main import run

if __name__ == "__main__":
    run()
