"""Message types of ROS 2: the text of their definitions, with all that they refer to."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CAMERA_INFO", "COMPRESSED", "IMAGE", "IMU", "VIDEO", "Kind"]

_RULE = "=" * 80
_TIME = f"{_RULE}\nMSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"
_HEADER = f"{_RULE}\nMSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n{_TIME}"
_VECTOR = f"{_RULE}\nMSG: geometry_msgs/Vector3\nfloat64 x\nfloat64 y\nfloat64 z\n"
_QUATERNION = f"{_RULE}\nMSG: geometry_msgs/Quaternion\nfloat64 x\nfloat64 y\nfloat64 z\nfloat64 w\n"
_ROI = (
    f"{_RULE}\nMSG: sensor_msgs/RegionOfInterest\n"
    "uint32 x_offset\nuint32 y_offset\nuint32 height\nuint32 width\nbool do_rectify\n"
)


@dataclass(frozen=True)
class Kind:
    """A message type: its ROS name and the text of its definition with all it refers to."""

    name: str
    definition: str


IMAGE = Kind(
    "sensor_msgs/msg/Image",
    "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\nuint32 step\nuint8[] data\n"
    + _HEADER,
)
COMPRESSED = Kind("sensor_msgs/msg/CompressedImage", f"std_msgs/Header header\nstring format\nuint8[] data\n{_HEADER}")
VIDEO = Kind(
    "foxglove_msgs/msg/CompressedVideo",
    f"builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n{_TIME}",
)
CAMERA_INFO = Kind(
    "sensor_msgs/msg/CameraInfo",
    "std_msgs/Header header\nuint32 height\nuint32 width\nstring distortion_model\nfloat64[] d\nfloat64[9] k\nfloat64[9] r\n"
    f"float64[12] p\nuint32 binning_x\nuint32 binning_y\nsensor_msgs/RegionOfInterest roi\n{_HEADER}{_ROI}",
)
IMU = Kind(
    "sensor_msgs/msg/Imu",
    "std_msgs/Header header\ngeometry_msgs/Quaternion orientation\nfloat64[9] orientation_covariance\n"
    "geometry_msgs/Vector3 angular_velocity\nfloat64[9] angular_velocity_covariance\n"
    f"geometry_msgs/Vector3 linear_acceleration\nfloat64[9] linear_acceleration_covariance\n{_HEADER}{_QUATERNION}{_VECTOR}",
)
