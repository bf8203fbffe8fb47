"""Real faults on real servers: `python -m tests.chaos` (`make chaos`).

shop/        the system that is put under stress: a coordinator and three services, as real processes
notebook.py  what clients have asked for and were told, which outlives them
scripts.py   what happens in each order, from the seed: refusals, failures, lost answers, undos that never work
crew.py      the processes: started, killed, frozen, armed with crash points, and started again
customers.py the load: orders, asked for over the broker; more comes from clients of the crew that die too
load.py      whether orders go on ending, and what is left in the end
wire.py      a proxy that cuts, truncates and stalls connections
stage.py     the servers, the databases, and how the run is brought to rest
nemesis.py   the faults, from the seed
history.py   the judge: reads the databases by SQL, imports nothing of sagaflow, and decides
"""
