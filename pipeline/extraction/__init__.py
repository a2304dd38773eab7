"""From videos to a library of features: the plan, the graph on Ray Data, its workers, their receipts."""
