def verify() -> None: """x"""
def frame() -> None: """x"""
