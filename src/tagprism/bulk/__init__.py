"""Many machines look at pictures together: inputs, work, a Ray cluster, shards of what came of it."""
