"""Several worker processes on one ledger: they race, die and hang, and the log stays one log."""

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import builders
import fakes
from fakes import Founded
from platemark import merkle, statement
from platemark_ledger.receipts import Receipts
from test_support import SOAK, signed_again

APPENDER = Path(__file__).parent.parent / "appender.py"
