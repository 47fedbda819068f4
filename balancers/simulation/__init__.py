"""Policies compared by discrete-event simulation, on one workload or in scenarios.

``compare`` is what ``balancers compare`` calls for one workload; a ``Cell`` is one policy in one
scenario, ``run_cells`` plays many, and ``bind(chapters(…))`` makes a report of them.

The parts plug together by small protocols: a ``Workload`` yields arrivals, a ``Server`` says how
long they take, a ``Contender`` builds what chooses, a ``Measure`` reads the result. Only public
names of the library are used here.
"""

from balancers.simulation.book import Book, bind
from balancers.simulation.cells import Cell, play
from balancers.simulation.comparison import Comparison, EndpointResult, Result, capacity, compare
from balancers.simulation.contenders import Contender, contender, parse_contenders
from balancers.simulation.engine import Batch, Run, SimulatedClock, Stage
from balancers.simulation.formats import access_log, json_lines
from balancers.simulation.measures import MEASURES, Measure
from balancers.simulation.quantiles import LatencyHistogram
from balancers.simulation.readers import BadLines, Record, TraceError
from balancers.simulation.report import as_csv, as_json, as_table
from balancers.simulation.scenario import Scenario, known_scenarios, load_scenario
from balancers.simulation.servers import FifoServer, Server, ServerFactory, fifo
from balancers.simulation.service import LAWS, ServiceLaw, parse_law
from balancers.simulation.suite import Chapter, chapters, run_cells
from balancers.simulation.trace import Survey, TraceFile, TraceWorkload
from balancers.simulation.workload import SyntheticWorkload, Workload

__all__ = [
    "LAWS",
    "MEASURES",
    "BadLines",
    "Batch",
    "Book",
    "Cell",
    "Chapter",
    "Comparison",
    "Contender",
    "EndpointResult",
    "FifoServer",
    "LatencyHistogram",
    "Measure",
    "Record",
    "Result",
    "Run",
    "Scenario",
    "Server",
    "ServerFactory",
    "ServiceLaw",
    "SimulatedClock",
    "Stage",
    "Survey",
    "SyntheticWorkload",
    "TraceError",
    "TraceFile",
    "TraceWorkload",
    "Workload",
    "access_log",
    "as_csv",
    "as_json",
    "as_table",
    "bind",
    "capacity",
    "chapters",
    "compare",
    "contender",
    "fifo",
    "json_lines",
    "known_scenarios",
    "load_scenario",
    "parse_contenders",
    "parse_law",
    "play",
    "run_cells",
]
