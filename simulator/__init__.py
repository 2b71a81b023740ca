"""
A WeCom to test against: callbacks, APIs, limits and faults.

What other people's tests need is imported from here; see the README beside this file.
"""

from simulator.config import SimulatorConfig
from simulator.corp import App
from simulator.faults import Fault, FaultRule
from simulator.play import Simulator
from simulator.server import run_simulator

__all__ = ["App", "Fault", "FaultRule", "Simulator", "SimulatorConfig", "run_simulator"]
