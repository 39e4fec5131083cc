"""What the commands for recordings need that an install may have left out."""

from __future__ import annotations

from platemark.cli.connect import require_packages

__all__ = ["require_robot"]


def require_robot() -> None:
    """Raises MissingExtraError unless the packages of the extra `robot` are here."""
    require_packages("robot", "mcap", "mcap_ros2", "rosbags")
