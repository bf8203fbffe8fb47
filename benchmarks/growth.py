"""How it goes on as it grows. To be filled in."""
from __future__ import annotations
import argparse
def add_parts(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None: ...
