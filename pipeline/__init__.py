"""graphsweep: exact, whole-graph inference of graph neural networks on Apache Spark."""
