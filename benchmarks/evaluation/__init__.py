"""From scores to numbers: a protocol, the counts it needs, the numbers of a task, their intervals."""
